package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// Types of entries that GNU tar alone writes (GNU tar's manual, "Basic Tar Format").
const (
	typeLabel     = 'V' // the name of the archive
	typeDumpDir   = 'D' // a directory with the list of what is in it, of tar -G
	typeContinued = 'M' // the rest of a file of the volume before
)

// globals are the records of global extended headers so far. They hold for all
// entries that follow and have no record of their own of that name (POSIX, pax,
// "pax Header Block"; GNU tar, xheader_decode).
type globals map[string]string

// add notes the records of one more global header. An empty value takes a record
// back.
func (g *globals) add(records map[string]string) error {
	if records == nil { // as package tar has one of which a value means nothing
		return errors.New("a global header is malformed: pack the layer again")
	}
	for name := range records {
		if name == "size" || strings.HasPrefix(name, "GNU.sparse.") {
			return fmt.Errorf("a global header says %s of all files: pack the layer again without it", quote(name))
		}
	}
	if *g == nil {
		*g = globals{}
	}
	maps.Copy(*g, records)
	return nil
}

// apply gives a header what holds for it.
func (g globals) apply(h *tar.Header) error {
	for name, value := range g {
		if _, own := h.PAXRecords[name]; own || value == "" {
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[name] = value
		if err := setRecord(h, name, value); err != nil {
			return fmt.Errorf("global header: %s=%s: %w", name, quote(value), err)
		}
	}
	return nil
}

// setRecord sets the field of a header that an extended record is about, if
// anything here reads it.
func setRecord(h *tar.Header, name, value string) (err error) {
	switch name {
	case "path":
		h.Name = value
	case "linkpath":
		h.Linkname = value
	case "uid":
		h.Uid, err = strconv.Atoi(value)
	case "gid":
		h.Gid, err = strconv.Atoi(value)
	case "mtime":
		h.ModTime, err = parseTime(value)
	case "atime":
		h.AccessTime, err = parseTime(value)
	}
	return err
}

// parseTime reads the time of an extended record: seconds since 1970, which may be
// negative and have a fraction.
func parseTime(value string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, errors.New("it is no time")
	}
	digits := (fraction + "000000000")[:9]
	nsec, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, errors.New("it is no time")
	}
	if strings.HasPrefix(whole, "-") {
		return time.Unix(sec, -int64(nsec)), nil
	}
	return time.Unix(sec, int64(nsec)), nil
}

// prepare makes of a header what it says here: with what holds for all, and of a
// type that layers have. ok: it is an entry.
func (a *applier) prepare(h *tar.Header) (ok bool, err error) {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return false, a.global.add(h.PAXRecords)
	case typeLabel:
		return false, nil
	case typeContinued:
		return false, fmt.Errorf("%s is the rest of a file that begins in another volume: join the volumes of the archive first (tar -M)", quote(h.Name))
	case typeDumpDir:
		h.Typeflag = tar.TypeDir
	}
	return true, a.global.apply(h)
}

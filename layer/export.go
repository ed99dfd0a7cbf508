package layer

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/overlaydiff/overlaydiff/diff"
)

// ExportOptions says how changes are written. The zero value is right for most
// callers: not compressed, with all extended attributes.
type ExportOptions struct {
	Compression Compression // "" means [None]
	// Level is the compression's own, as its command line tool has it; 0 means its
	// default.
	Level int
	// Opaque marks directories that hide the lower layers' with .wh..wh..opq, where
	// the native engine finds them, instead of with a whiteout for each name.
	Opaque bool
	// SkipReserved leaves out what a layer can't carry because its name begins with
	// .wh., and all below it. Else it is a [ReservedError].
	SkipReserved bool
	Xattrs       Xattrs // "" means [XattrsAll]
	// UIDs and GIDs map the ids of the views to those in the layer, the container's.
	// Empty: they are the same. Whiteouts have 0. An id without a mapping is an
	// [UnmappedError].
	UIDs, GIDs []IDMap
	// SkipUnmapped leaves out entries whose owner has no mapping, and all below them. An
	// attribute that names such an id stays an error: without it, an entry could be open
	// to more users than before.
	SkipUnmapped bool
	// Latest, unless zero, is the latest time in the layer: what is later is set
	// back to it (SOURCE_DATE_EPOCH).
	Latest time.Time
	// NoDigests leaves out DiffID and Digest, for who makes them otherwise.
	NoDigests bool
	// OnLack, unless nil, is called with all that the layer can't say, and with what
	// SkipReserved leaves out. Calls come one at a time.
	OnLack func(Lack)
	// OnProgress, unless nil, is called now and then, from another goroutine, with
	// the entries and bytes of the archive written so far.
	OnProgress func(entries, bytes int64)
}

// IDMap is a range of ids of a container and the host.
type IDMap = diff.IDRange

// Descriptor says what a blob is, as a descriptor of the OCI image-spec (descriptor.md) does, with
// the same fields in JSON.
type Descriptor struct {
	MediaType string        `json:"mediaType"` // as of [Compression.MediaType]
	Digest    digest.Digest `json:"digest"`    // SHA-256
	Size      int64         `json:"size"`      // bytes
}

// Exported is what became of an export.
type Exported struct {
	Descriptor Descriptor    `json:"descriptor"` // of what was written
	DiffID     digest.Digest `json:"diff_id"`    // of the archive before compression
	// Bytes is the length of the archive before compression.
	Bytes   int64 `json:"bytes"`
	Entries int64 `json:"entries"`
	// Whiteouts is how many of the entries delete something.
	Whiteouts int64 `json:"whiteouts"`
	// Inexpressible is how much a layer can't say: sockets, extended attributes taken
	// off a directory that stays, or with a name that tar has no place for.
	Inexpressible int64 `json:"inexpressible"`
	// Skipped is how many entries were left out by SkipReserved, trees as one.
	Skipped int64 `json:"skipped"`
	// Unmapped is how many entries were left out by SkipUnmapped, trees as one.
	Unmapped int64 `json:"unmapped"`
}

// Lack is something that a layer can't say of an entry.
type Lack struct {
	Path string // of the entry, absolute within the view
	// What of the entry is not in the layer; 0: the whole entry, and all below it.
	What diff.What
	Why  string // in words
}

// ReservedError says that an entry can't be carried because layers have another
// meaning for its name.
type ReservedError struct{ Path string }

func (e *ReservedError) Error() string {
	return fmt.Sprintf("export %s: in a layer a name that begins with .wh. deletes something; rename it, or leave it out", diff.QuotePath(e.Path))
}

// UnmappedError says that an id of an entry has no mapping to one of the container.
type UnmappedError struct {
	Path string // of the entry
	What string // "owner", or the extended attribute that has the id
	Kind string // "user" or "group"
	ID   int64  // as the host has it
}

func (e *UnmappedError) Error() string {
	return fmt.Sprintf("export %s: %s: the %s id %d of the host is nobody's in the container: write the host's owners, map this id, or leave such entries out",
		diff.QuotePath(e.Path), e.What, e.Kind, e.ID)
}

// Export writes the changes that c finds to w. Memory does not depend on how many
// files there are, nor on how large they are, except for hard links of which not
// all names were seen yet.
//
// What changes while it is read goes to opts.OnRace, one at a time, as for
// [diff.Engine], but from any goroutine; the archive is right nevertheless: of a
// file that grows it has the beginning, what a file lost is zeros. After an error
// what was written is no archive.
func Export(ctx context.Context, c diff.Carrier, opts diff.Options, w io.Writer, o ExportOptions) (Exported, error) {
	out, err := newOutput(w, o)
	if err != nil {
		return Exported{}, err
	}
	whole := false
	defer func() {
		if !whole {
			_ = out.close(false)
		}
	}()
	x := newExporter(ctx, opts, o, out)
	if err := x.run(c, opts); err != nil {
		return Exported{}, err
	}
	whole = true
	if err := out.close(true); err != nil {
		return Exported{}, fmt.Errorf("write the layer: %w", err)
	}
	out.describe(&x.result)
	return x.result, nil
}

// run passes what is to be carried through the pipe.
func (x *exporter) run(c diff.Carrier, opts diff.Options) error {
	opts.OnRace, opts.Kinds = x.raced, true
	x.pipe.start()
	defer x.pipe.abort(nil) // if nothing else ended it
	pass := func(want diff.Want, then func() error) error {
		return c.Carry(x.pipe.ctx, opts, want, func(items iter.Seq2[diff.Item, error]) (err error) {
			whole := false
			defer func() {
				if !whole { // also after a panic: payloads are valid only here
					err = x.pipe.abort(err)
				}
			}()
			x.dirs = x.dirs[:0]
			for item, err := range items {
				if err == nil {
					err = x.item(&item)
				}
				if err != nil {
					return err
				}
			}
			err = then()
			whole = err == nil
			return err
		})
	}
	return pass(diff.Want{Opaque: x.opts.Opaque, Parted: true}, func() error {
		if unseen := x.stayed.unseen(); unseen.Links != nil {
			x.pass, x.stayed = looking, stayed{}
			if err := pass(unseen, func() error { return nil }); err != nil {
				return err
			}
		}
		x.pass = linking
		if links := x.unchangedLinks(); links.Links != nil {
			return pass(links, x.pipe.finish)
		}
		return x.pipe.finish()
	})
}

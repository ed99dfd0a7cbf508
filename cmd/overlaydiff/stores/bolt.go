//go:build linux

package stores

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// bolt is a database of bbolt, which containerd keeps its lists in. The library
// itself trusts a file, to the point of not ending with one that is damaged; here
// it may be any user's.
//
// The format, in the machine's byte order (bbolt, internal/common): pages, of
// which the first two are meta pages. A page begins with a header; a branch has
// elements that lead to pages, a leaf has elements with keys and values. A bucket
// is a value that leads to a page, or has one in it.
type bolt struct {
	data     []byte
	pageSize int
	root     bucket
	budget   int // of bytes to look at: a circle of pages ends, and many keys with one long value
}

// bucket is one of keys and values.
type bucket struct {
	db   *bolt
	page []byte // the root of its tree
}

const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	boltHeader  = 16 // of pages: id, flags, count, overflow
	boltElement = 16 // of branches and leaves alike
	boltMeta    = 64 // what follows the header of a meta page
	boltSum     = 56 // where in it the checksum is, of what is before
	maxBoltDeep = 64 // a tree of so many levels has more keys than there are bytes
	boltReads   = 16 // how often a byte is looked at at most, on average
	isBranch    = 1  // flags of pages
	isLeaf      = 2  //
	isBucket    = 1  // flag of a leaf's element
)

var errBolt = errors.New("the database is damaged: mend the store")

// openBolt reads a database as of one commit, whoever has it open.
func openBolt(ctx context.Context, e eyes, path string) (*bolt, error) {
	f, err := e.file(path, maxDatabase)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	most := e.limit(maxDatabase)
	const tries = 100
	for range tries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, same, err := readBolt(f, most)
		if err != nil {
			return nil, pathError(err, path)
		}
		if !same {
			time.Sleep(time.Millisecond)
			continue
		}
		db, err := parseBolt(data)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", diff.QuotePath(path), err)
		}
		return db, nil
	}
	return nil, fmt.Errorf("read %s: it was written all the time: try again", diff.QuotePath(path))
}

// readBolt returns the file, and whether that is the state after one commit. A
// commit writes its pages where the one before has none, and then one of the two
// meta pages: so it is if those were the same before and after.
func readBolt(f *os.File, most int64) (data []byte, same bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if info.Size() > most {
		return nil, false, errors.New("it is larger than containerd would write")
	}
	before, err := boltHeads(f)
	if err != nil {
		return nil, false, err
	}
	data = make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	after, err := boltHeads(f)
	if err != nil {
		return nil, false, err
	}
	copied, err := boltHeads(bytes.NewReader(data[:n]))
	return data[:n], bytes.Equal(before, after) && bytes.Equal(before, copied), err
}

// boltHeads returns what counts of the two meta pages, as much as there is.
func boltHeads(r io.ReaderAt) ([]byte, error) {
	const length = boltHeader + boltMeta
	heads := make([]byte, 2*length)
	for _, at := range []int64{0, 1} {
		pageSize := int64(binary.NativeEndian.Uint32(heads[boltHeader+8:]))
		if _, err := r.ReadAt(heads[at*length:][:length], at*pageSize); err != nil && err != io.EOF {
			return nil, err
		}
	}
	return heads, nil
}

// parseBolt finds the newest meta page that is whole.
func parseBolt(data []byte) (*bolt, error) {
	db := &bolt{data: data}
	var newest, root uint64
	for _, at := range []int{0, 1} {
		meta, ok := cut(data, uint64(at*db.pageSize+boltHeader), boltMeta)
		if !ok {
			continue
		}
		word := func(at int) uint32 { return binary.NativeEndian.Uint32(meta[at:]) }
		long := func(at int) uint64 { return binary.NativeEndian.Uint64(meta[at:]) }
		if at == 0 {
			db.pageSize = int(word(8))
		}
		sum := fnv.New64a()
		sum.Write(meta[:boltSum])
		if word(0) != boltMagic || word(4) != boltVersion || sum.Sum64() != long(boltSum) || int(word(8)) != db.pageSize {
			continue
		}
		if txid := long(48); db.root.db == nil || txid > newest {
			newest, root = txid, long(16)
			db.root.db = db
		}
	}
	if db.root.db == nil || db.pageSize < boltHeader+boltMeta {
		return nil, errBolt
	}
	db.budget = boltReads * len(data)
	var err error
	db.root.page, err = db.page(root)
	return db, err
}

// cut returns n bytes from at.
func cut(data []byte, at, n uint64) ([]byte, bool) {
	if at > uint64(len(data)) || n > uint64(len(data))-at {
		return nil, false
	}
	return data[at : at+n], true
}

// page returns a page with what overflows from it.
func (db *bolt) page(id uint64) ([]byte, error) {
	if id > uint64(len(db.data)/db.pageSize) {
		return nil, errBolt
	}
	at := id * uint64(db.pageSize)
	head, ok := cut(db.data, at, boltHeader)
	if !ok {
		return nil, errBolt
	}
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	page, ok := cut(db.data, at, (overflow+1)*uint64(db.pageSize))
	if !ok || !db.spend(len(page)) {
		return nil, errBolt
	}
	return page, nil
}

func (db *bolt) spend(n int) bool {
	db.budget -= n
	return db.budget >= 0
}

// each calls use for every key, in order: with its value, or the bucket that it
// is. An error of use ends it.
func (b bucket) each(use func(key string, value []byte, in bucket) error) error {
	if b.db == nil {
		return nil
	}
	return b.db.walk(b.page, 0, use)
}

func (db *bolt) walk(page []byte, depth int, use func(string, []byte, bucket) error) error {
	head, ok := cut(page, 0, boltHeader)
	if !ok || depth > maxBoltDeep {
		return errBolt
	}
	flags, count := binary.NativeEndian.Uint16(head[8:]), uint64(binary.NativeEndian.Uint16(head[10:]))
	for i := range count {
		at := boltHeader + i*boltElement
		element, ok := cut(page, at, boltElement)
		if !ok {
			return errBolt
		}
		var err error
		switch flags {
		case isBranch:
			var child []byte
			if child, err = db.page(binary.NativeEndian.Uint64(element[8:])); err == nil {
				err = db.walk(child, depth+1, use)
			}
		case isLeaf:
			err = db.leaf(page[at:], element, use)
		default:
			err = errBolt
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaf uses one element of a leaf: rest is the page from there.
func (db *bolt) leaf(rest, element []byte, use func(string, []byte, bucket) error) error {
	word := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(element[at:])) }
	flags, pos, keySize, valueSize := word(0), word(4), word(8), word(12)
	key, ok := cut(rest, pos, keySize)
	value, okValue := cut(rest, pos+keySize, valueSize)
	if !ok || !okValue || !db.spend(boltElement+len(key)+len(value)) {
		return errBolt
	}
	if flags&isBucket == 0 {
		return use(string(key), value, bucket{})
	}
	if len(value) < 16 { // the page of its root, and a sequence
		return errBolt
	}
	in := bucket{db: db, page: value[16:]}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		var err error
		if in.page, err = db.page(root); err != nil {
			return err
		}
	}
	return use(string(key), nil, in)
}

// buckets calls use for every bucket in b.
func (b bucket) buckets(use func(name string, in bucket) error) error {
	return b.each(func(key string, _ []byte, in bucket) error {
		if in.db == nil {
			return nil
		}
		return use(key, in)
	})
}

// at returns the bucket at a path of names, an empty one if there is none.
func (b bucket) at(path ...string) (bucket, error) {
	for _, name := range path {
		var found bucket
		err := b.buckets(func(key string, in bucket) error {
			if key == name {
				found = in
			}
			return nil
		})
		if err != nil {
			return bucket{}, err
		}
		b = found
	}
	return b, nil
}

// values returns the values in b by their keys.
func (b bucket) values() (map[string]string, error) {
	values := map[string]string{}
	err := b.each(func(key string, value []byte, in bucket) error {
		if in.db == nil {
			values[key] = string(value)
		}
		return nil
	})
	return values, err
}

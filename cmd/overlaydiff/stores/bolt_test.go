//go:build linux

package stores

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// A database that is written all the time is read as of one commit: its two
// values are always equal.
func TestBolt_whileWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	write := func(db *bbolt.DB, n byte) error {
		return db.Update(func(tx *bbolt.Tx) error {
			for i := range 200 {
				b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket %d", i))
				if err == nil {
					err = b.Put([]byte("value"), []byte{n})
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := write(db, 0); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := byte(1); ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := write(db, n); err != nil {
				done <- err
				return
			}
		}
	}()
	seen := map[byte]bool{}
	for start, n := time.Now(), 0; n < 100 || len(seen) < 2; n++ {
		if time.Since(start) > time.Minute {
			t.Fatalf("only %d commits were seen", len(seen))
		}
		var values []byte
		db, err := openBolt(t.Context(), eyes{node: "/"}, path)
		if err != nil {
			t.Logf("not read: %v", err) // all the time is all the time
			continue
		}
		err = db.root.buckets(func(_ string, in bucket) error {
			got, err := in.values()
			values = append(values, got["value"]...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if v != values[0] {
				t.Fatalf("values of several commits: %v", values)
			}
		}
		if len(values) != 200 {
			t.Fatalf("%d values", len(values))
		}
		seen[values[0]] = true
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// FuzzBolt reads databases that are damaged: an error, and no crash.
func FuzzBolt(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024})
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error {
			for i := range 20 {
				b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "b%d", i))
				if err == nil {
					err = b.Put([]byte("id"), make([]byte, i))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), byte(0), byte(0))
	f.Add(uint16(4*1024+8), byte(0xff), byte(3))
	f.Fuzz(func(t *testing.T, at uint16, xor, more byte) {
		path := filepath.Join(t.TempDir(), "db")
		bad := append([]byte{}, data...)
		for i := range int(more%8) + 1 {
			bad[(int(at)+i)%len(bad)] ^= xor
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := openBolt(t.Context(), eyes{node: "/"}, path)
		if err == nil {
			_ = dump(db.root, map[string]string{}, "")
		}
	})
}

// dump reads all of a bucket into a map by path.
func dump(b bucket, into map[string]string, path string) error {
	return b.each(func(key string, value []byte, in bucket) error {
		if in.db != nil {
			into[path+"/"+key+"/"] = ""
			return dump(in, into, path+"/"+key)
		}
		into[path+"/"+key] = string(value)
		return nil
	})
}

func dumpLibrary(b *bbolt.Bucket, into map[string]string, path string) error {
	return b.ForEach(func(key, value []byte) error {
		if in := b.Bucket(key); in != nil {
			into[path+"/"+string(key)+"/"] = ""
			return dumpLibrary(in, into, path+"/"+string(key))
		}
		into[path+"/"+string(key)] = string(value)
		return nil
	})
}

// Random databases are read as the library reads them.
func TestBolt_random(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true, PageSize: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for round := range 20 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "top %d", rnd.IntN(3)))
			for range rnd.IntN(4) {
				if err == nil {
					b, err = b.CreateBucketIfNotExists(fmt.Appendf(nil, "in %d", rnd.IntN(5)))
				}
			}
			for i := range rnd.IntN(500) {
				if err == nil {
					err = b.Put(fmt.Appendf(nil, "%d %d", rnd.IntN(50), i), make([]byte, rnd.IntN(1<<rnd.IntN(13))))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want, got := map[string]string{}, map[string]string{}
		err = db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
				want["/"+string(name)+"/"] = ""
				return dumpLibrary(b, want, "/"+string(name))
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		ours, err := openBolt(t.Context(), eyes{node: "/"}, db.Path())
		if err == nil {
			err = dump(ours.root, got, "")
		}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Fatalf("round %d: %v, -library +ours:\n%.2000s", round, err, d)
		}
	}
}

// A page whose keys all have the same long value would be a great deal of memory.
func TestBolt_oneValueManyKeys(t *testing.T) {
	const pageSize, keys, length = 4096, 60_000, 1 << 20
	page := make([]byte, boltHeader+keys*boltElement+length)
	put := func(b []byte, words ...uint32) {
		for i, w := range words {
			binary.NativeEndian.PutUint32(b[4*i:], w)
		}
	}
	put(page[8:], isLeaf|keys<<16, uint32(len(page)/pageSize))
	for i := range keys {
		at := boltHeader + i*boltElement
		put(page[at:], 0, uint32(len(page)-length+i-at), 4, length-keys-4) // flags, where, sizes
		put(page[len(page)-length+i:], uint32(i))
	}
	file := make([]byte, 3*pageSize+len(page))
	copy(file[2*pageSize:], page)
	meta := file[boltHeader:]
	put(meta, boltMagic, boltVersion, pageSize, 0, 2)
	sum := fnv.New64a()
	sum.Write(meta[:boltSum])
	binary.NativeEndian.PutUint64(meta[boltSum:], sum.Sum64())
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := openBolt(t.Context(), eyes{node: "/"}, path)
	if err != nil {
		t.Fatal(err)
	}
	if values, err := db.root.values(); !errors.Is(err, errBolt) || len(values) > 100 {
		t.Errorf("%d values, %v", len(values), err)
	}
}

package sys

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The numbers of powerpc and mips have other direction bits than those of all others.
func TestRequest(t *testing.T) {
	type number struct {
		name        string
		got         uintptr
		most, power uintptr
	}
	power := map[string]bool{"ppc64": true, "ppc64le": true, "mips": true, "mipsle": true, "mips64": true, "mips64le": true}
	for _, n := range []number{
		{"FS_IOC_GETFSUUID", getFSUUID, 0x80111500, 0x40111500},
		{"FS_IOC_FSGETXATTR", getXFlags, 0x801c581f, 0x401c581f},
		{"FS_IOC_FSSETXATTR", setXFlags, 0x401c5820, 0x801c5820},
		{"FS_IOC_FIEMAP", getExtents, 0xc020660b, 0xc020660b},
		{"FS_IOC_MEASURE_VERITY", getVerity, 0xc0046686, 0xc0046686},
		{"BTRFS_IOC_FS_INFO", btrfsFSInfo, 0x8400941f, 0x4400941f},
		{"XFS_IOC_FSGEOMETRY", xfsGeometry, 0x8100587e, 0x4100587e},
	} {
		want := n.most
		if power[runtime.GOARCH] {
			want = n.power
		}
		if n.got != want {
			t.Errorf("%s is %#x, want %#x", n.name, n.got, want)
		}
	}
	for name, n := range map[string][2]uintptr{ // against the numbers of x/sys, which the kernel's headers give
		"FS_IOC_GETFLAGS":             {request(ioctlRead, 'f', 1, unsafe.Sizeof(uintptr(0))), unix.FS_IOC_GETFLAGS},
		"FS_IOC_GET_ENCRYPTION_NONCE": {request(ioctlRead, 'f', 27, 16), unix.FS_IOC_GET_ENCRYPTION_NONCE},
		"FS_IOC_ENABLE_VERITY":        {request(ioctlWrite, 'f', 133, 128), unix.FS_IOC_ENABLE_VERITY},
		"PERF_EVENT_IOC_QUERY_BPF":    {request(ioctlRead|ioctlWrite, '$', 10, unsafe.Sizeof(uintptr(0))), unix.PERF_EVENT_IOC_QUERY_BPF},
	} {
		if n[0] != n[1] {
			t.Errorf("%s is %#x, want %#x", name, n[0], n[1])
		}
	}
}

// Sizes and times that don't fit in 32 bits. A 32-bit program opens a file of 2 GiB or more with
// O_LARGEFILE alone, and has a time after 2038 from the calls with 64 in their names alone.
func TestLarge(t *testing.T) {
	path, fd := dirWith(t, "f")
	const size, future = 3 << 30, 1 << 33
	file := filepath.Join(path, "f")
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	opened, err := OpenFileAt(fd, "f")
	if err != nil {
		t.Fatal("open for reading:", err)
	}
	defer Close(opened)
	written, err := OpenWriteAt(fd, "f", false)
	if err != nil {
		t.Fatal("open for writing:", err)
	}
	defer Close(written)
	if got := ContentSize(opened, 0); got != size {
		t.Errorf("the content's size is %d, want %d", got, int64(size))
	}
	for _, name := range []string{"f", ""} {
		at := fd
		if name == "" {
			at = written
		}
		want := Timespec{Sec: future, Nsec: 7}
		if err := SetTimesAt(at, name, Timespec{Nsec: OmitTime}, want); err != nil {
			t.Fatal(err)
		}
		var st, usage Stat
		if err := StatAt(at, name, StatAll, &st); err != nil || st.Mtime != want || st.Size != size {
			t.Errorf("StatAt %q: size %d, mtime %v, %v; want %d, %v", name, st.Size, st.Mtime, err, int64(size), want)
		}
		if err := UsageAt(at, name, &usage); err != nil || usage.Size != size || usage.Ino != st.Ino || usage.Dev != st.Dev ||
			usage.Mode != st.Mode || usage.Nlink != st.Nlink || usage.UID != st.UID || usage.Blocks != st.Blocks {
			t.Errorf("UsageAt %q: %+v, %v; StatAt has %+v", name, usage, err, st)
		}
	}
}

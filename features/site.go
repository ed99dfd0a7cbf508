package features

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Site is where answers hold.
type Site struct {
	Kernel        string `json:"kernel"`                 // as uname -r has it
	Directory     string `json:"directory"`              // that was asked about
	FileSystem    string `json:"file_system"`            // "ext4"
	UID           int    `json:"uid"`                    // the effective one
	InitialUserns bool   `json:"initial_user_namespace"` // the process is in it
	// Trusted is whether trusted.* attributes can be read, which takes
	// CAP_SYS_ADMIN in the initial user namespace.
	Trusted bool `json:"trusted_xattrs"`
}

// Where describes this process, its kernel, and the file system of dir.
func Where(dir string) (Site, error) {
	f, err := openDir(dir)
	if err != nil {
		return Site{}, err
	}
	defer f.Close()
	site := Site{
		Kernel: "unknown", Directory: dir, FileSystem: fsName(f),
		UID: os.Geteuid(), InitialUserns: initialUserns(), Trusted: expectTrusted(),
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		site.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return site, nil
}

// fsNames has the file systems that layers are likely to be on.
var fsNames = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	unix.EROFS_SUPER_MAGIC_V1:  "erofs",
	unix.SQUASHFS_MAGIC:        "squashfs",
	unix.MSDOS_SUPER_MAGIC:     "vfat",
	unix.EXFAT_SUPER_MAGIC:     "exfat",
	unix.V9FS_MAGIC:            "9p",
	unix.CEPH_SUPER_MAGIC:      "ceph",
	unix.BCACHEFS_SUPER_MAGIC:  "bcachefs",
	0x2fc12fc1:                 "zfs",
	unix.ECRYPTFS_SUPER_MAGIC:  "ecryptfs",
	unix.SMB2_SUPER_MAGIC:      "smb",
	unix.PROC_SUPER_MAGIC:      "proc",
	unix.SYSFS_MAGIC:           "sysfs",
}

// fsName names the file system of dir.
func fsName(dir *os.File) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return "unknown"
	}
	if name, ok := fsNames[int64(uint32(st.Type))]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", uint32(st.Type))
}

module github.com/overlaydiff/overlaydiff

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/klauspost/compress v1.20.3
	github.com/moby/sys/mountinfo v0.7.3
	github.com/opencontainers/go-digest v1.0.0
	github.com/pkg/xattr v0.4.12
	golang.org/x/sys v0.49.0
)

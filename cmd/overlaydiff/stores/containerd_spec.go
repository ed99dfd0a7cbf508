//go:build linux

package stores

import (
	"encoding/binary"
	"encoding/json"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// anyValue returns the value of a google.protobuf.Any, as which containerd keeps the objects of
// its clients: field 2, of wire type 2. "" if there is none. The lengths must be read: that of a
// value of 123 bytes is a '{', too.
func anyValue(message string) string {
	const typeURL, value = 1<<3 | 2, 2<<3 | 2
	for message != "" {
		tag := message[0]
		size, n := binary.Uvarint([]byte(message[1:min(len(message), 1+binary.MaxVarintLen64)]))
		if n <= 0 || tag != typeURL && tag != value {
			return ""
		}
		rest := message[1+n:]
		if size > uint64(len(rest)) {
			return ""
		}
		if tag == value {
			return rest[:size]
		}
		message = rest[size:]
	}
	return ""
}

// readAttempt returns how often Kubernetes had a container started again: the CRI plugin keeps
// what it was asked for as JSON in an extension (internal/cri/store/container, Metadata).
func readAttempt(c bucket) (uint32, error) {
	extensions, err := c.at("extensions")
	if err != nil {
		return 0, err
	}
	values, err := extensions.values()
	if err != nil {
		return 0, err
	}
	var of struct {
		Metadata struct {
			Config struct {
				Metadata struct {
					Attempt uint32 `json:"attempt"`
				} `json:"metadata"`
			}
		}
	}
	_ = json.Unmarshal([]byte(anyValue(values["io.cri-containerd.container.metadata"])), &of) // 0: not known
	return of.Metadata.Config.Metadata.Attempt, nil
}

// specIDs returns the container's ids that an OCI runtime specification asks for, which
// containerd keeps for each container as JSON: zero if it has no user namespace, or if they are
// not known. Those of a container that joins another's user namespace are not in it.
func specIDs(spec string) diff.IDMap {
	if !strings.Contains(spec, `"uidMappings"`) { // most have none, and parsing is slow
		return diff.IDMap{}
	}
	type mapping struct {
		Container uint32 `json:"containerID"`
		Host      uint32 `json:"hostID"`
		Size      uint32 `json:"size"`
	}
	var of struct {
		Linux struct {
			Users  []mapping `json:"uidMappings"`
			Groups []mapping `json:"gidMappings"`
		} `json:"linux"`
	}
	if json.Unmarshal([]byte(anyValue(spec)), &of) != nil {
		return diff.IDMap{}
	}
	convert := func(from []mapping) (to []diff.IDRange) {
		for _, m := range from {
			to = append(to, diff.IDRange(m))
		}
		return withoutIdentity(to)
	}
	return diff.IDMap{Users: convert(of.Linux.Users), Groups: convert(of.Linux.Groups)}
}

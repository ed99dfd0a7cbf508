package diff

// Seen is what a view shows at a path.
type Seen struct {
	Entry
	// HostUID and HostGID are the owner as the host has it. It differs from the entry's if
	// that has ids of the container.
	HostUID, HostGID uint32
	// Payload reads the rest. It is valid until the call that gave it returns.
	Payload Payload
}

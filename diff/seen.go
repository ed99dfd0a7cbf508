package diff

// Seen is what a view shows at a path.
type Seen struct {
	Entry
	// Payload reads the rest. It is valid until the call that gave it returns.
	Payload Payload
}

package peers

// ours are overlaydiff's own exporters and appliers. There are none yet.
func ours() []exporter { return nil }

func ourAppliers() []applier { return nil }

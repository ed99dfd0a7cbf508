package bench

import (
	"context"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Visit is told each change: its letter and its path. The letters are A, C and D;
// P of those who don't tell A from C, and X if they do that with another content
// than the new view has. R is a path that is not as in the new view once the
// answer was carried out, though the answer did not name it. A nil Visit is
// measured.
type Visit func(letter byte, path string)

// Answer is a summary of what a subject found. What it does not know is 0.
type Answer struct {
	Changes int64 // as many as it names
	Bytes   int64 // of files, every inode once
	Disk    int64 // allocated, every inode once
	Inodes  int64
}

// Subject is something that is measured.
type Subject struct {
	// Name is the last part of a benchmark's name.
	Name string
	// Run does the work once. A nil visit must not make it do less work than its
	// users get.
	Run func(ctx context.Context, s *Scene, visit Visit) (Answer, error)
	// Limit marks the bare system calls that the work takes at least. It has no
	// answer to check.
	Limit bool
	// Clean removes what a run without a visit left behind. No time is taken of
	// it. nil is nothing.
	Clean func(s *Scene) error
}

func (s Subject) clean(sc *Scene) error {
	if s.Clean == nil {
		return nil
	}
	return s.Clean(sc)
}

// Task is a question with its subjects, ours first: the others' answers are
// compared with that of the first.
type Task struct {
	// Name is the benchmark's: Usage, Changes.
	Name     string
	Subjects []Subject
	// Reference has the answer that all are compared with, where that is not the
	// first subject's. It is not measured.
	Reference *Subject
	// Compare compares another's answer with ours.
	Compare func(ours, theirs Findings) Verdict
	// Skip tells the scenarios that say nothing new about the task, or take too
	// long for what they say. nil is none.
	Skip func(s Scenario) bool
}

// Skips reports whether the task is not worth doing on a scenario.
func (t Task) Skips(s Scenario) bool { return t.Skip != nil && t.Skip(s) }

// Right returns the subject whose answer the others' are compared with.
func (t Task) Right() Subject {
	if t.Reference != nil {
		return *t.Reference
	}
	return t.Subjects[0]
}

// Usage is what an upper directory holds.
func Usage() Task {
	return Task{
		Name: "Usage", Compare: CompareUsage, Subjects: []Subject{{Name: "overlaydiff", Run: usage}},
		Skip: func(s Scenario) bool { return s.Layers > 1 || s.Image > image }, // only the upper is read
	}
}

// Changes is what differs between the views.
func Changes() Task {
	return Task{Name: "Changes", Compare: CompareChanges, Subjects: []Subject{
		{Name: "overlaydiff-native", Run: changesBy(overlaydiff.Native)},
		{Name: "overlaydiff-naive", Run: changesBy(overlaydiff.Naive)},
	}}
}

// Layer is the layer tar of the changes, thrown away. What it carries is compared
// with our list of them.
func Layer() Task {
	return Task{
		Name: "Layer", Compare: CompareChanges, Reference: &Subject{Name: "overlaydiff-changes", Run: layerChanges},
		// Changes shows what finding them costs, on which file system and how cold.
		Skip: func(s Scenario) bool {
			return s.Image > 2*image || s.Layers > 1 || s.Cold || s.Image != 0 && s.FS != ""
		},
	}
}

func usage(ctx context.Context, s *Scene, _ Visit) (Answer, error) {
	u, err := overlaydiff.Usage(ctx, s.Stack, overlaydiff.Options{})
	return Answer{Bytes: u.Bytes, Disk: u.DiskBytes, Inodes: u.Inodes}, err
}

// layerChanges lists the changes that a layer tar can have: there are no sockets
// in one.
func layerChanges(ctx context.Context, s *Scene, visit Visit) (Answer, error) {
	d, err := overlaydiff.Open(ctx, s.Stack, overlaydiff.Options{Engine: overlaydiff.Native, Kinds: true})
	if err != nil {
		return Answer{}, err
	}
	defer d.Close()
	var a Answer
	for c, err := range d.Changes(ctx) {
		if err != nil {
			return a, err
		}
		a.Changes++
		if visit != nil && (c.Kind == diff.Delete || c.Entry.Type != diff.Socket) {
			visit(c.Kind.Letter(), c.Path)
		}
	}
	return a, nil
}

// changesBy lists the changes with an engine, opening included. Like the peers it
// does not say in what entries differ.
func changesBy(engine overlaydiff.Choice) func(context.Context, *Scene, Visit) (Answer, error) {
	return func(ctx context.Context, s *Scene, visit Visit) (a Answer, err error) {
		d, err := overlaydiff.Open(ctx, s.Stack, overlaydiff.Options{Engine: engine, Kinds: true})
		if err != nil {
			return a, err
		}
		defer func() {
			if cerr := d.Close(); err == nil {
				err = cerr
			}
		}()
		// A stream, as continuity and buildkit hand them over, too; moby and
		// containers/storage return lists.
		for c, err := range d.Changes(ctx) {
			if err != nil {
				return a, err
			}
			a.Changes++
			if visit != nil {
				visit(c.Kind.Letter(), c.Path)
			}
		}
		return a, nil
	}
}

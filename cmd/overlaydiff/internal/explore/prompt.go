package explore

import (
	"github.com/gdamore/tcell/v2"
)

// prompt is a question in the last line.
type prompt struct {
	question string
	answer   []rune
	done     func(a *app, answer string)
}

// ask asks for a line of text.
func (a *app) ask(question, proposed string, done func(a *app, answer string)) {
	a.prompt = &prompt{question: question, answer: []rune(proposed), done: done}
}

func (p *prompt) key(a *app, e *tcell.EventKey) {
	switch e.Key() {
	case tcell.KeyEnter:
		a.prompt = nil
		p.done(a, string(p.answer))
	case tcell.KeyEsc, tcell.KeyCtrlC:
		a.prompt = nil
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		if len(p.answer) == 0 {
			a.prompt = nil
			return
		}
		p.answer = p.answer[:len(p.answer)-1]
	case tcell.KeyCtrlU:
		p.answer = nil
	case tcell.KeyRune:
		p.answer = append(p.answer, e.Rune())
	}
}

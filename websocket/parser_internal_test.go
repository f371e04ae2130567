package websocket

import "testing"

func TestAParserHoldsMemoryOnlyInsideAMessage(t *testing.T) {
	t.Parallel()
	p := NewParser(Client, 0)
	for _, step := range []struct {
		in   string
		held bool
	}{
		{"\x82", false}, {"\x03", true}, {"a", true}, {"bc", false}, // a message in pieces
		{"\x89\x02", true}, {"p", true}, {"q", false}, // a ping in pieces
		{"\x01\x01a", true}, {"\x8a\x01", true}, {"p", true}, {"\x80\x00", false}, // a pong inside a message
		{"\x81\x05\xff", false}, // a message that breaks a rule
	} {
		for in := []byte(step.in); ; {
			m, rest, err := p.Next(in)
			if m.Kind == 0 && err == nil {
				break
			}
			in = rest
		}
		if held := p.state != nil; held != step.held {
			t.Errorf("after %q: memory held: %v", step.in, held)
		}
	}
}

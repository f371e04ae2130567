package websocket

import "testing"

func TestAParserHoldsMemoryOnlyInsideAMessage(t *testing.T) {
	t.Parallel()
	const begun = "\x01\x01a" // a message
	for _, steps := range [][]struct {
		in   string
		held bool
	}{
		{{"\x82", false}, {"\x03", true}, {"a", true}, {"bc", false}, {"\x89\x02", true}, {"p", true}, {"q", false}},
		{{begun, true}, {"\x8a\x01", true}, {"p", true}, {"\x80\x00", false}},
		{{begun, true}, {"\x80\x05\xff", false}}, // bad text
		{{begun, true}, {"\x83\x05", false}},     // a reserved opcode
		{{begun, true}, {"\x80\x7e\x00\x01", false}},
		{{begun, true}, {"\x88\x02\x03", true}, {"\xe8", false}},
		{{begun, true}, {"\x88\x00", false}},
	} {
		p := NewParser(Client, 0)
		for _, step := range steps {
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
}

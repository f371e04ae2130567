package listen

import "strings"

// defaultUrgency is that of a request that tells none (RFC 9218, section 4.1),
// from 0, the most urgent, to leastUrgency.
const (
	defaultUrgency = 3
	leastUrgency   = 7
)

// priority is what a Priority header tells (RFC 9218, section 5).
type priority struct {
	told        bool // there is a header
	urgency     int  // -1 if it does not tell
	incremental *bool
}

// apply returns what a header tells, and otherwise what is given.
func (p priority) apply(urgency int, incremental bool) (int, bool) {
	if p.urgency >= 0 {
		urgency = p.urgency
	}
	if p.incremental != nil {
		incremental = *p.incremental
	}
	return urgency, incremental
}

// parsePriority reads the values of a Priority header. They are a dictionary
// (RFC 9651, section 3.2), in which others than u and i are left alone; one that
// is none, and members of a wrong type, tell nothing.
func parsePriority(values []string) priority {
	p := priority{told: len(values) > 0, urgency: -1}
	if !p.told {
		return p
	}
	s := scanner(strings.Join(values, ","))
	told := p
	for s.skip(" "); s != ""; {
		key, ok := s.key()
		if !ok {
			return p
		}
		value := "?1"
		if s.next("=") {
			if value, ok = s.value(); !ok {
				return p
			}
		}
		told.set(key, value)
		if !s.parameters() {
			return p
		}
		if s.skip(" \t"); s == "" {
			break
		}
		if !s.next(",") {
			return p
		}
		if s.skip(" \t"); s == "" {
			return p // a comma at the end
		}
	}
	return told
}

// set takes a member of the dictionary over; of several of a key, the last
// counts.
func (p *priority) set(key, value string) {
	switch key {
	case "u":
		p.urgency = -1
		if len(value) == 1 && value[0] >= '0' && value[0] <= '0'+leastUrgency {
			p.urgency = int(value[0] - '0')
		}
	case "i":
		p.incremental = nil
		if value == "?0" || value == "?1" {
			p.incremental = new(value == "?1")
		}
	}
}

// scanner is what is left to read of a structured field.
type scanner string

// skip skips all of the characters in set.
func (s *scanner) skip(set string) { *s = scanner(strings.TrimLeft(string(*s), set)) }

// next skips prefix, if it is what comes next.
func (s *scanner) next(prefix string) bool {
	rest, ok := strings.CutPrefix(string(*s), prefix)
	*s = scanner(rest)
	return ok
}

// while reads what consists of characters that ok reports true of.
func (s *scanner) while(ok func(c byte) bool) string {
	n := 0
	for n < len(*s) && ok((*s)[n]) {
		n++
	}
	read := string((*s)[:n])
	*s = (*s)[n:]
	return read
}

func (s *scanner) key() (string, bool) {
	if *s == "" || !lower((*s)[0]) && (*s)[0] != '*' {
		return "", false
	}
	return s.while(func(c byte) bool { return lower(c) || digit(c) || strings.IndexByte("_-.*", c) >= 0 }), true
}

// value reads an item, or an inner list.
func (s *scanner) value() (string, bool) {
	if !s.next("(") {
		return s.item()
	}
	for {
		s.skip(" ")
		if s.next(")") {
			return "", true
		}
		if _, ok := s.item(); !ok || !s.parameters() {
			return "", false
		}
		if *s == "" || (*s)[0] != ' ' && (*s)[0] != ')' {
			return "", false
		}
	}
}

// parameters skips the parameters of an item.
func (s *scanner) parameters() bool {
	for s.next(";") {
		s.skip(" ")
		if _, ok := s.key(); !ok {
			return false
		}
		if s.next("=") {
			if _, ok := s.item(); !ok {
				return false
			}
		}
	}
	return true
}

// item reads an item without its parameters. Of those that u and i cannot be it
// looks only for the end.
func (s *scanner) item() (string, bool) {
	if s.next(`%"`) || s.next(`"`) {
		return s.quoted()
	}
	if s.next(":") {
		s.while(func(c byte) bool { return c != ':' })
		return ":", s.next(":")
	}
	bare := s.while(func(c byte) bool { return c > ' ' && c < 0x7f && strings.IndexByte(`,;()"=`, c) < 0 })
	return bare, bare != ""
}

// quoted skips the rest of a string.
func (s *scanner) quoted() (string, bool) {
	for {
		s.while(func(c byte) bool { return c != '"' && c != '\\' })
		switch {
		case s.next(`"`):
			return `"`, true
		case s.next(`\`) && *s != "":
			*s = (*s)[1:]
		default:
			return "", false
		}
	}
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool { return c >= '0' && c <= '9' }

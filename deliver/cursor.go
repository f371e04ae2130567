package deliver

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/fairlead-edge/fairlead"
)

// A composite id is the place of a reader in several topics: for each of them
// eight hexadecimal digits of the SHA-256 of its name, and its cursor, joined
// by "~".

const (
	hashDigits = 8
	separator  = '~'
)

// topicHash returns what stands for the topic in a composite id.
func topicHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:hashDigits/2])
}

// places are the cursors of a reader, in the order in which it named topics.
type places struct {
	names   []string
	hashes  []string
	cursors []fairlead.Cursor
}

func newPlaces(names []string) *places {
	p := &places{names: names, hashes: make([]string, len(names)), cursors: make([]fairlead.Cursor, len(names))}
	for i, name := range names {
		p.hashes[i] = topicHash(name)
	}
	return p
}

// parse reads where each topic starts; those that after does not name get the
// default. For one topic, after may be a plain cursor.
func (p *places) parse(after string, otherwise fairlead.Cursor) error {
	for i := range p.cursors {
		p.cursors[i] = otherwise
	}
	one := fairlead.Cursor(after)
	switch {
	case after == "":
		return nil
	case one.IsWord() || (len(p.names) == 1 && strings.IndexByte(after, separator) < 0):
		if !one.IsWord() {
			if _, _, err := one.Parse(); err != nil {
				return err
			}
		}
		for i := range p.cursors {
			p.cursors[i] = one
		}
		return nil
	}
	for part := range strings.SplitSeq(after, string(separator)) {
		if len(part) <= hashDigits {
			return badComposite()
		}
		of, cursor := part[:hashDigits], fairlead.Cursor(part[hashDigits:])
		if _, _, err := cursor.Parse(); err != nil {
			return badComposite()
		}
		for i, known := range p.hashes {
			if known == of {
				p.cursors[i] = cursor
			}
		}
	}
	return nil
}

func badComposite() error {
	return fairlead.Errorf(fairlead.InvalidArgument,
		"not an id of a stream of these topics: use one from an event's id of such a stream, or earliest, latest or snapshot; a single topic's cursor does not say where the others were")
}

// set moves the reader on in one topic.
func (p *places) set(name string, c fairlead.Cursor) {
	for i, known := range p.names {
		if known == name {
			p.cursors[i] = c
			return
		}
	}
}

// appendID appends the id of the present place.
func (p *places) appendID(dst []byte) []byte {
	if len(p.cursors) == 1 {
		return append(dst, p.cursors[0]...)
	}
	for i, c := range p.cursors {
		if i > 0 {
			dst = append(dst, separator)
		}
		dst = append(dst, p.hashes[i]...)
		dst = append(dst, c...)
	}
	return dst
}

package upstream

import (
	"errors"
	"net/textproto"
	"strings"
)

// maxPlain bounds the text of an error, in bytes: a certificate may have many names.
const maxPlain = 300

// plainText is the text of err for those who look at a pool, without what the endpoint
// sent: net/http's errors quote what they could not read, which may be anybody's secret.
func plainText(err error) string {
	switch e := err.(type) { //nolint:errorlint // each by itself
	case failures:
		texts := make([]string, len(e))
		for i, one := range e {
			texts[i] = plainText(one)
		}
		return strings.Join(texts, "; ")
	case *attemptError:
		return "upstream: " + e.endpoint + ": " + plainText(e.err)
	case *unavailable:
		if e.cause == nil {
			return e.text
		}
		return e.text + ": " + plainText(e.cause)
	}
	text := err.Error()
	if p, ok := errors.AsType[textproto.ProtocolError](err); ok { // it has no quotes
		before, _, _ := strings.Cut(text, p.Error())
		text = before + "malformed header"
	}
	text, _, quoted := strings.Cut(text, `"`)
	if quoted {
		text = strings.TrimRight(text, ` :=([`)
	}
	return strings.ToValidUTF8(text[:min(len(text), maxPlain)], "")
}

// plainError is err with its plain text.
type plainError struct{ error }

func (e plainError) Error() string { return plainText(e.error) }
func (e plainError) Unwrap() error { return e.error }

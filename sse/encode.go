package sse

import (
	"bytes"
	"strconv"
	"time"
)

// Append appends the encoding of e to dst and returns the result: the id,
// event, retry and data lines that e calls for, and the blank line. It does not
// allocate when dst has room. Several readers may share the frame of an event
// without an ID, each with an id line of its own before it (see AppendIDLine).
//
// The error is that of Validate; dst is then returned as it was.
func Append(dst []byte, e Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return dst, err
	}
	if e.HasID || e.ID != "" {
		dst = appendField(dst, "id", e.ID)
	}
	if e.Type != "" {
		dst = appendField(dst, "event", e.Type)
	}
	dst = appendRetry(dst, e.Retry)
	dst = appendLines(dst, "data: ", e.Data)
	return append(dst, '\n'), nil
}

// AppendIDLine appends "id: ID\n", to stand directly before a frame that has
// no id line of its own. An empty id resets the reader's last event id. The
// error is that of [Event.Validate]; dst is then returned as it was.
func AppendIDLine(dst []byte, id string) ([]byte, error) {
	if err := validField("id", id); err != nil {
		return dst, err
	}
	return appendField(dst, "id", id), nil
}

// AppendPosition appends a block that sets a reader's last event id and its
// reconnection time without dispatching an event: "id: ID\nretry: MS\n\n". An
// empty id and a retry of zero or less are left out; without both, nothing is
// appended. The error is that of [Event.Validate]; dst is then returned as it
// was.
func AppendPosition(dst []byte, id string, retry time.Duration) ([]byte, error) {
	if err := validField("id", id); err != nil {
		return dst, err
	}
	if id == "" && retry <= 0 {
		return dst, nil
	}
	if id != "" {
		dst = appendField(dst, "id", id)
	}
	dst = appendRetry(dst, retry)
	return append(dst, '\n'), nil
}

// AppendComment appends text as a block of comments, one for each of its
// lines: readers ignore it, and networks see that the stream is alive.
func AppendComment(dst []byte, text string) []byte {
	dst = appendLines(dst, ": ", []byte(text))
	return append(dst, '\n')
}

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, '\n')
}

func appendRetry(dst []byte, retry time.Duration) []byte {
	if retry <= 0 {
		return dst
	}
	ms := retry / time.Millisecond
	if retry%time.Millisecond != 0 {
		ms++
	}
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, int64(ms), 10)
	return append(dst, '\n')
}

// appendLines appends each line of text, at least one, after prefix. A line
// ends at CR, LF or CR LF, as it does for the reader. Searching for CR only
// within what ends at an LF keeps it linear whatever the line ends are.
func appendLines(dst []byte, prefix string, text []byte) []byte {
	for {
		lf := bytes.IndexByte(text, '\n')
		if lf < 0 {
			return appendSplitAtCR(dst, prefix, text)
		}
		dst = appendSplitAtCR(dst, prefix, bytes.TrimSuffix(text[:lf], cr))
		text = text[lf+1:]
	}
}

func appendSplitAtCR(dst []byte, prefix string, text []byte) []byte {
	for {
		end := bytes.IndexByte(text, '\r')
		line := text
		if end >= 0 {
			line = text[:end]
		}
		dst = append(dst, prefix...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if end < 0 {
			return dst
		}
		text = text[end+1:]
	}
}

var cr = []byte{'\r'}

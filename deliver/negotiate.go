package deliver

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
)

const (
	mediaSSE  = "text/event-stream"
	mediaJSON = "application/json"
)

// negotiate chooses the representation of a topic by Accept (RFC 9110 §12.5.1):
// the one with the greater weight, then the one that is named more exactly,
// then the stream. "" means neither is acceptable.
func negotiate(accept []string) string {
	all := strings.Join(accept, ",")
	if strings.Trim(all, ", \t") == "" { // empty members of a list mean nothing (RFC 9110 §5.6.1)
		return mediaSSE
	}
	streamQ, streamFit := weigh(all, mediaSSE)
	pageQ, pageFit := weigh(all, mediaJSON)
	switch {
	case streamQ == 0 && pageQ == 0:
		return ""
	case pageQ > streamQ || (pageQ == streamQ && pageFit > streamFit):
		return mediaJSON
	}
	return mediaSSE
}

// weigh returns the weight that the most exact range for the media type gives
// it, and how exact that is.
func weigh(accept, media string) (q float64, fit int) {
	kind, _, _ := strings.Cut(media, "/")
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		at := 0
		switch strings.ToLower(strings.TrimSpace(name)) {
		case media:
			at = 3
		case kind + "/*":
			at = 2
		case "*/*":
			at = 1
		}
		if at > fit {
			q, fit = quality(params), at
		}
	}
	return q, fit
}

func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}

// maxWait bounds a long poll: networks cut what is silent for a minute.
const maxWait = 50 * time.Second

// preferredWait returns the wait of Prefer (RFC 7240 §4.3). What it cannot read
// it does not heed, as the RFC asks.
func preferredWait(h http.Header) time.Duration {
	for _, line := range h.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, _ := strings.Cut(part, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := number(strings.Trim(strings.TrimSpace(value), `"`))
			if err == nil {
				return min(time.Duration(seconds)*time.Second, maxWait)
			}
		}
	}
	return 0
}

// number reads a count, of which one too large is the greatest there is.
func number(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if errors.Is(err, strconv.ErrRange) {
		err = nil
	}
	return n, err
}

// boolean reads a header field that is a Boolean of RFC 9651 §3.3.6; absent is
// false.
func boolean(h http.Header, name string) (bool, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return false, nil
	}
	value, _, _ := strings.Cut(values[0], ";") // parameters say nothing here
	switch value = strings.TrimSpace(value); {
	case len(values) == 1 && value == "?1":
		return true, nil
	case len(values) == 1 && value == "?0":
		return false, nil
	}
	return false, fairlead.Errorf(fairlead.InvalidArgument, "the header %s is ?1 or ?0", name)
}

// single returns the one value of a header field, "" when it is absent.
func single(h http.Header, name string) (string, error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", fairlead.Errorf(fairlead.InvalidArgument, "the header %s stands more than once", name)
}

package upstream

import (
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
)

func TestWhatAnEndpointSentIsNotTold(t *testing.T) {
	t.Parallel()
	goAway := errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug="secret"`)
	for _, c := range []struct {
		err  error
		want string
	}{
		{
			failures{&attemptError{"http://a", goAway}, &attemptError{"http://b", &unavailable{text: "no connection within 1s", cause: fmt.Errorf("dial: %w", goAway)}}},
			"upstream: http://a: http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug; " +
				"upstream: http://b: no connection within 1s: dial: http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug",
		},
		{fmt.Errorf("read: %w", textproto.ProtocolError("malformed MIME header line: secret")), "read: malformed header"},
		{&unavailable{text: `it is "ours"`}, `it is "ours"`},
		{fairlead.Errorf(fairlead.Unavailable, "the pool was closed"), "unavailable: the pool was closed"},
		{errors.New(strings.Repeat("é", maxPlain)), strings.Repeat("é", maxPlain/2)},
	} {
		if text := (plainError{c.err}).Error(); text != c.want {
			t.Errorf("%q, want %q", text, c.want)
		}
	}
}

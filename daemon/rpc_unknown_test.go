package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestACallThatNoRouteTakesIsUnimplementedAndToldWhatIsHere(t *testing.T) {
	for config, here := range map[string]string{"drain: {window: 0s}": "fairlead.v1.Topics", `topics_prefix: ""`: "no route"} {
		p := start(t, config, daemon.Options{})
		for name, c := range map[string]struct {
			over    func(*program) (*http.Client, string)
			options []connect.ClientOption
		}{
			"gRPC":                     {overH2C, []connect.ClientOption{connect.WithGRPC()}},
			"gRPC-Web":                 {overH2C, []connect.ClientOption{connect.WithGRPCWeb()}},
			"gRPC-Web, over HTTP/1.1":  {overH1, []connect.ClientOption{connect.WithGRPCWeb()}},
			"Connect, over HTTP/1.1":   {overH1, nil},
			"Connect's JSON, GET also": {overH1, []connect.ClientOption{connect.WithProtoJSON(), connect.WithHTTPGet()}},
		} {
			client, base := c.over(p)
			options := append(c.options, connect.WithIdempotency(connect.IdempotencyNoSideEffects)) //nolint:gocritic // of this one alone
			_, err := connect.NewClient[emptypb.Empty, emptypb.Empty](client, base+"/no.Such/Thing", options...).CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{}))
			if connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), here) {
				t.Errorf("by %s: %v, want %s", name, err, here)
			}
			client.CloseIdleConnections()
		}
		if status, text := answer(t, http.MethodPost, p.http+"/no.Such/Thing", "{}", "Content-Type", "application/json"); status != http.StatusNotFound || !strings.Contains(text, `"not_found"`) {
			t.Errorf("what is no call: %d %s", status, text)
		}
	}
}

package interceptor_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead/interceptor"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// A service whose calls are counted, and whose panics end one call each.
func Example() {
	with := connect.WithInterceptors(
		interceptor.Observe(func(c interceptor.Call) { fmt.Println(c.Procedure, c.Code()) }),
		interceptor.Recovery(func(procedure string, v any, _ []byte) { fmt.Println(procedure, "panicked:", v) }),
	)
	mux := http.NewServeMux()
	mux.Handle(fairleadv1connect.NewTopicsHandler(service{}, with)) // any service of connect-go
	server := httptest.NewServer(mux)
	defer server.Close()

	client := fairleadv1connect.NewTopicsClient(server.Client(), server.URL)
	for _, topic := range []string{"news", "panic"} {
		_, _ = client.Publish(context.Background(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: topic}))
	}
	// Output:
	// /fairlead.v1.Topics/Publish ok
	// /fairlead.v1.Topics/Publish panicked: a secret
	// /fairlead.v1.Topics/Publish internal
}

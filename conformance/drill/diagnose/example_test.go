package diagnose_test

import (
	"fmt"

	"github.com/fairlead-edge/fairlead/conformance/drill/diagnose"
)

// A snapshot comes from [diagnose.Admin.Snapshot]; this one is made.
func ExampleCompare() {
	pools := []diagnose.Pool{{Name: "api", Endpoints: []diagnose.Endpoint{{Endpoint: "http://10.0.0.1:9000", State: "ok"}, {
		Endpoint: "http://10.0.0.2:9000", State: "backoff", Why: "connect: connection refused",
	}}}}
	for _, f := range diagnose.Compare(&diagnose.Snapshot{Pools: pools}, &diagnose.Snapshot{Pools: pools}) {
		fmt.Println(f.Fault)
		fmt.Println(f.Evidence)
	}
	// Output:
	// dead endpoint
	// pool api: http://10.0.0.2:9000 is backoff (connect: connection refused); 0 connections to it could not be made; 1 of 2 endpoints are well
}

// Command grpc is what connectconformance tests: the conformance service of
// connectrpc.com/conformance, served as Fairlead's own calls are, by package listen
// and connect-go with the interceptors around it, and a reference server behind the
// proxy.
//
//	connectconformance --mode server -- grpc serve
//	connectconformance --mode server -- grpc front h2c FAIRLEAD REFERENCESERVER
//
// Each reads one ServerCompatRequest from its standard input, answers with a
// ServerCompatResponse when it listens, and serves until SIGTERM. Its tests run both,
// and grpc-go's interop client, direct and through the proxy.
package main

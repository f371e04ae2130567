// Calls measures what gRPC costs here, each beside a twin in the same run:
//
//	calls unary      the server's CPU of a unary call, beside bare grpc-go
//	calls stream     the same of a message of a server stream
//	calls records    1,000 records by as many calls, and by one stream
//	calls formats    protobuf beside JSON: size and CPU
//
// Each of the first two has the servers in processes of their own, whose CPU it
// reads; server and twin take turns, and a ratio is the median of the pairs.
package main

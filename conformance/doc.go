// Package conformance tests the program fairlead with clients that the project
// did not write: curl, h2spec, Chromium and Firefox, npm's eventsource, ws and
// openai, and the HTTP of Go and quic-go. It is a module of its own, so that
// none of them reaches users of the library.
//
// The tests build cmd/fairlead with the race detector, start it on a free port
// and talk to it as those clients do. A missing tool is a failure that says
// what to install; ci/test installs all of them.
package conformance

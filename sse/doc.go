// Package sse speaks text/event-stream, the wire format of Server-Sent Events
// (WHATWG HTML §9.2), as a server and as a client, with nothing but net/http.
package sse

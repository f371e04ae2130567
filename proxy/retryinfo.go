package proxy

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// retryInfo returns the value of grpc-status-details-bin: a google.rpc.Status with the
// status's code and message and a google.rpc.RetryInfo. These few fields do not need
// the library of protobuf, which whoever uses this package would have with it.
func retryInfo(e *fairlead.Error) string {
	seconds, nanos := e.RetryAfter/time.Second, e.RetryAfter%time.Second
	delay := appendNumber(appendNumber(nil, 1, uint64(seconds)), 2, uint64(nanos)) //nolint:gosec // it is positive
	detail := appendBytes(nil, 1, "type.googleapis.com/google.rpc.RetryInfo")
	detail = appendBytes(detail, 2, string(appendBytes(nil, 1, string(delay))))
	status := appendNumber(nil, 1, uint64(e.Code.GRPC())) //nolint:gosec // of a table
	status = appendBytes(appendBytes(status, 2, e.Message), 3, string(detail))
	return base64.RawStdEncoding.EncodeToString(status)
}

// appendNumber appends a varint field of protobuf.
func appendNumber(b []byte, field, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, field<<3), n)
}

// appendBytes appends a field of protobuf that has a length.
func appendBytes(b []byte, field uint64, s string) []byte {
	const lengthDelimited = 2
	b = binary.AppendUvarint(b, field<<3|lengthDelimited)
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

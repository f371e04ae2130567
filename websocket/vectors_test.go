package websocket_test

import (
	"strings"

	"github.com/gobwas/ws"
)

// vectorLimit is MaxMessage for violations.
const vectorLimit = 4096

type violation struct {
	name string
	in   []byte // from a client
	code int    // what it is closed with
}

const (
	rsv1 = 4
	rsv2 = 2
	rsv3 = 1
)

// bit is a frame of a client with extension bits.
func bit(rsv byte, op ws.OpCode, p string) []byte {
	return raw(ws.Header{Fin: true, Rsv: rsv, OpCode: op, Masked: true}, []byte(p))
}

// violations break each rule of a stream without extensions.
func violations() []violation {
	return []violation{
		{"no mask", plain(ws.OpText, true, "hi"), 1002},
		{"no mask on a ping", plain(ws.OpPing, true, ""), 1002},
		{"RSV1 without compression", bit(rsv1, ws.OpText, "x"), 1002},
		{"RSV2", bit(rsv2, ws.OpText, "x"), 1002},
		{"RSV3", bit(rsv3, ws.OpBinary, "x"), 1002},
		{"RSV2 on a ping", bit(rsv2, ws.OpPing, ""), 1002},
		{"reserved data opcode", masked(3, true, ""), 1002},
		{"reserved data opcode 7", masked(7, true, ""), 1002},
		{"reserved control opcode", masked(0xb, true, ""), 1002},
		{"reserved control opcode 15", masked(0xf, true, ""), 1002},
		{"fragmented ping", masked(ws.OpPing, false, ""), 1002},
		{"fragmented close", masked(ws.OpClose, false, ""), 1002},
		{"long ping", masked(ws.OpPing, true, strings.Repeat("x", 126)), 1002},
		{"continuation of nothing", masked(ws.OpContinuation, true, "x"), 1002},
		{"continuation after the end", join(masked(ws.OpText, false, "a"), masked(ws.OpContinuation, true, "b"), masked(ws.OpContinuation, true, "c")), 1002},
		{"message inside a message", join(masked(ws.OpText, false, "a"), masked(ws.OpText, true, "b")), 1002},
		{"length 2 in 16 bits", []byte{0x82, 0xfe, 0, 2, 0, 0, 0, 0, 'a', 'b'}, 1002},
		{"length 2 in 64 bits", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 'a', 'b'}, 1002},
		{"length over 63 bits", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1002},
		{"length of 63 bits", []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 1009},
		{"half a close code", masked(ws.OpClose, true, "\x03"), 1002},
		{"close code 999", masked(ws.OpClose, true, closeBody(999, "")), 1002},
		{"close code 1004", masked(ws.OpClose, true, closeBody(1004, "")), 1002},
		{"close code 1005", masked(ws.OpClose, true, closeBody(1005, "")), 1002},
		{"close code 1006", masked(ws.OpClose, true, closeBody(1006, "")), 1002},
		{"close code 1015", masked(ws.OpClose, true, closeBody(1015, "")), 1002},
		{"close code 2999", masked(ws.OpClose, true, closeBody(2999, "")), 1002},
		{"close code 5000", masked(ws.OpClose, true, closeBody(5000, "")), 1002},
		{"close reason not UTF-8", masked(ws.OpClose, true, closeBody(1000, "\xff")), 1007},
		{"text not UTF-8", masked(ws.OpText, true, "a\xffb"), 1007},
		{"text with a surrogate", masked(ws.OpText, true, "\xed\xa0\x80"), 1007},
		{"text over U+10FFFF", masked(ws.OpText, true, "\xf4\x90\x80\x80"), 1007},
		{"text overlong", masked(ws.OpText, true, "\xc0\xaf"), 1007},
		{"text cut in a character", masked(ws.OpText, true, "gr\xc3"), 1007},
		{"text bad across fragments", join(masked(ws.OpText, false, "\xe2\x82"), masked(ws.OpContinuation, true, "a")), 1007},
		{"text bad, unfinished", masked(ws.OpText, false, "ok \xff"), 1007},
		{"message over the limit", masked(ws.OpBinary, true, strings.Repeat("x", 4097)), 1009},
		{"fragments over the limit", join(masked(ws.OpBinary, false, strings.Repeat("x", 4000)), masked(ws.OpContinuation, true, strings.Repeat("x", 97))), 1009},
	}
}

package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	conformancev1 "github.com/fairlead-edge/fairlead/conformance/grpc/connectrpc/conformance/v1"
	"github.com/fairlead-edge/fairlead/conformance/grpc/connectrpc/conformance/v1/conformancev1connect"
)

// service does what each first request says, as the suite's service.proto defines.
type service struct {
	conformancev1connect.UnimplementedConformanceServiceHandler
}

func (service) Unary(ctx context.Context, req *connect.Request[conformancev1.UnaryRequest]) (*connect.Response[conformancev1.UnaryResponse], error) {
	payload, err := answer(ctx, req.Msg.GetResponseDefinition(), req.Msg)
	return connect.NewResponse(&conformancev1.UnaryResponse{Payload: payload}), err
}

func (service) IdempotentUnary(
	ctx context.Context, req *connect.Request[conformancev1.IdempotentUnaryRequest],
) (*connect.Response[conformancev1.IdempotentUnaryResponse], error) {
	payload, err := answer(ctx, req.Msg.GetResponseDefinition(), req.Msg)
	return connect.NewResponse(&conformancev1.IdempotentUnaryResponse{Payload: payload}), err
}

func (service) ClientStream(
	ctx context.Context, stream *connect.ClientStream[conformancev1.ClientStreamRequest],
) (*connect.Response[conformancev1.ClientStreamResponse], error) {
	var requests []proto.Message
	var define *conformancev1.UnaryResponseDefinition
	for stream.Receive() {
		if requests == nil {
			define = stream.Msg().GetResponseDefinition()
		}
		requests = append(requests, stream.Msg())
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	payload, err := answer(ctx, define, requests...)
	return connect.NewResponse(&conformancev1.ClientStreamResponse{Payload: payload}), err
}

func (service) ServerStream(
	ctx context.Context, req *connect.Request[conformancev1.ServerStreamRequest], stream *connect.ServerStream[conformancev1.ServerStreamResponse],
) error {
	send := func(payload *conformancev1.ConformancePayload) error {
		if payload == nil {
			return stream.Send(nil)
		}
		return stream.Send(&conformancev1.ServerStreamResponse{Payload: payload})
	}
	return newScript(ctx, req.Msg.GetResponseDefinition(), send).play(req.Msg)
}

func (service) BidiStream(ctx context.Context, stream *connect.BidiStream[conformancev1.BidiStreamRequest, conformancev1.BidiStreamResponse]) error {
	send := func(payload *conformancev1.ConformancePayload) error {
		if payload == nil {
			return stream.Send(nil)
		}
		return stream.Send(&conformancev1.BidiStreamResponse{Payload: payload})
	}
	var s *script
	var requests []proto.Message // not answered yet
	duplex := false
	for {
		request, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		requests = append(requests, request)
		if s == nil {
			s, duplex = newScript(ctx, request.GetResponseDefinition(), send), request.GetFullDuplex()
		}
		if !duplex {
			continue
		}
		if s.done() {
			break
		}
		if err := s.next(requests...); err != nil {
			return err
		}
		requests = nil
	}
	if s == nil {
		return nil
	}
	return s.play(requests...)
}

// script is what a stream is to respond.
type script struct {
	ctx    context.Context
	define *conformancev1.StreamResponseDefinition
	send   func(*conformancev1.ConformancePayload) error // nil: the header alone
	sent   int
}

func newScript(ctx context.Context, define *conformancev1.StreamResponseDefinition, send func(*conformancev1.ConformancePayload) error) *script {
	setFields(ctx, define.GetResponseHeaders(), define.GetResponseTrailers())
	return &script{ctx: ctx, define: define, send: send}
}

func (s *script) done() bool { return s.sent >= len(s.define.GetResponseData()) }

// next responds once, in an exchange of both directions, to requests.
func (s *script) next(requests ...proto.Message) error {
	payload := &conformancev1.ConformancePayload{Data: s.define.GetResponseData()[s.sent]}
	if s.sent == 0 {
		if err := s.send(nil); err != nil {
			return err
		}
	}
	switch {
	case s.sent == 0:
		payload.RequestInfo = infoOf(s.ctx, requests)
	case len(requests) > 0:
		payload.RequestInfo = &conformancev1.ConformancePayload_RequestInfo{Requests: anyOf(requests)}
	}
	if err := wait(s.ctx, s.define.GetResponseDelayMs()); err != nil {
		return err
	}
	s.sent++
	return s.send(payload)
}

// play responds what is left, to requests, and ends as is defined.
func (s *script) play(requests ...proto.Message) error {
	for !s.done() {
		if err := s.next(requests...); err != nil {
			return err
		}
		requests = nil
	}
	if s.define.GetError() == nil {
		return nil
	}
	if s.sent > 0 {
		return errorOf(s.define.GetError())
	}
	return errorOf(s.define.GetError(), infoOf(s.ctx, requests))
}

// answer is the only response to requests.
func answer(ctx context.Context, define *conformancev1.UnaryResponseDefinition, requests ...proto.Message) (*conformancev1.ConformancePayload, error) {
	info := infoOf(ctx, requests)
	setFields(ctx, define.GetResponseHeaders(), define.GetResponseTrailers())
	if err := wait(ctx, define.GetResponseDelayMs()); err != nil {
		return nil, err
	}
	if fails := define.GetError(); fails != nil {
		return nil, errorOf(fails, info)
	}
	return &conformancev1.ConformancePayload{Data: define.GetResponseData(), RequestInfo: info}, nil
}

// wait ends with the call's context, but where that is its deadline somewhat later: an
// answer at that very moment would meet the suite's client as it gives up, and be cut
// in half.
func wait(ctx context.Context, milliseconds uint32) error {
	const later = 100 * time.Millisecond
	timer := time.NewTimer(time.Duration(milliseconds) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			time.Sleep(later)
		}
	}
	return ctx.Err()
}

// infoOf tells the client what was seen of its request.
func infoOf(ctx context.Context, requests []proto.Message) *conformancev1.ConformancePayload_RequestInfo {
	info := &conformancev1.ConformancePayload_RequestInfo{Requests: anyOf(requests)}
	if deadline, ok := ctx.Deadline(); ok {
		info.TimeoutMs = new(time.Until(deadline).Milliseconds())
	}
	call, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok {
		return info
	}
	info.RequestHeaders = fieldsOf(call.RequestHeader())
	if call.HTTPMethod() == http.MethodGet {
		info.ConnectGetInfo = &conformancev1.ConformancePayload_ConnectGetInfo{QueryParams: fieldsOf(call.Peer().Query)}
	}
	return info
}

func anyOf(messages []proto.Message) []*anypb.Any {
	all := make([]*anypb.Any, 0, len(messages))
	for _, m := range messages {
		if a, err := anypb.New(m); err == nil { // it was unmarshalled
			all = append(all, a)
		}
	}
	return all
}

func fieldsOf(from map[string][]string) []*conformancev1.Header {
	fields := make([]*conformancev1.Header, 0, len(from))
	for name, values := range from {
		fields = append(fields, &conformancev1.Header{Name: name, Value: values})
	}
	return fields
}

func setFields(ctx context.Context, header, trailer []*conformancev1.Header) {
	call, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok {
		return
	}
	for _, part := range []struct {
		to   http.Header
		from []*conformancev1.Header
	}{{call.ResponseHeader(), header}, {call.ResponseTrailer(), trailer}} {
		for _, field := range part.from {
			for _, value := range field.GetValue() {
				part.to.Add(field.GetName(), value)
			}
		}
	}
}

// errorOf is the error as it is defined, with more details.
func errorOf(define *conformancev1.Error, more ...proto.Message) error {
	err := connect.NewError(connect.Code(define.GetCode()), errors.New(define.GetMessage()))
	details := make([]proto.Message, 0, len(define.GetDetails())+len(more))
	for _, d := range define.GetDetails() {
		details = append(details, d)
	}
	for _, m := range append(details, more...) {
		detail, wrong := connect.NewErrorDetail(m)
		if wrong != nil {
			return wrong
		}
		err.AddDetail(detail)
	}
	return err
}

// The unary call of echo.v1.EchoService by grpc-go: what a server of another language makes of the same requests.
//
// Reads {"ca", "cert", "key"} as JSON in one line of its input, or {} to serve in cleartext, prints its port, and ends
// with its input. Built without modules, from Debian's packages alone.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/golang/protobuf/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// echoRequest and echoResponse are what protoc-gen-go made before it made descriptors; the codec is the same.
type echoRequest struct {
	Message     string `protobuf:"bytes,1,opt,name=message,proto3"`
	Payload     []byte `protobuf:"bytes,2,opt,name=payload,proto3"`
	Repeat      uint32 `protobuf:"varint,3,opt,name=repeat,proto3"`
	DelayMillis uint32 `protobuf:"varint,4,opt,name=delay_millis,proto3"`
	PayloadSize uint32 `protobuf:"varint,5,opt,name=payload_size,proto3"`
}

func (m *echoRequest) Reset()         { *m = echoRequest{} }
func (m *echoRequest) String() string { return proto.CompactTextString(m) }
func (*echoRequest) ProtoMessage()    {}

type echoResponse struct {
	Message string `protobuf:"bytes,1,opt,name=message,proto3"`
	Payload []byte `protobuf:"bytes,2,opt,name=payload,proto3"`
	Index   uint32 `protobuf:"varint,3,opt,name=index,proto3"`
}

func (m *echoResponse) Reset()         { *m = echoResponse{} }
func (m *echoResponse) String() string { return proto.CompactTextString(m) }
func (*echoResponse) ProtoMessage()    {}

func echo(_ interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	request := new(echoRequest)
	if err := decode(request); err != nil {
		return nil, err
	}
	return &echoResponse{Payload: request.Payload}, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

type certificates struct{ Ca, Cert, Key string }

func (c certificates) options() []grpc.ServerOption {
	if c.Cert == "" {
		return nil
	}
	pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.Ca))
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS13,
	}))}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	check(err)
	var c certificates
	check(json.Unmarshal(line, &c))
	server := grpc.NewServer(c.options()...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "echo.v1.EchoService",
		HandlerType: (*interface{})(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
	}, nil)
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, input)
		os.Exit(0)
	}()
	check(server.Serve(listener))
}

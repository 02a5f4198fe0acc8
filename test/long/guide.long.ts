/** The Go programs of docs/guide/interop.md, built by Debian's packages and run against this library. */
import { existsSync } from "node:fs"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Credentials, DevCa, Grpc, Transport } from "effect-transport"
import { PohService } from "../../examples/gen/poh/v1/poh_pb.js"
import { describeWhere, freePort, run, start } from "../fixtures/command.js"
import { within } from "../suite/fixtures/expect.js"
import { directory, isInstalled } from "../suite/fixtures/system.js"

/** Where Debian puts the sources of Go packages. */
const goPath = "/usr/share/gocode"
const hasGrpcGo = isInstalled("go") && existsSync(join(goPath, "src/google.golang.org/grpc"))

/** What protoc-gen-go and protoc-gen-go-grpc would have generated, in as much as the page uses it. */
const generated = `package pohv1

import (
	"context"

	"github.com/golang/protobuf/proto"
	"google.golang.org/grpc"
)

type PohRequest struct {
	Slot       uint64 \`protobuf:"varint,1,opt,name=slot,proto3"\`
	Iterations uint32 \`protobuf:"varint,3,opt,name=iterations,proto3"\`
}

func (m *PohRequest) Reset()         { *m = PohRequest{} }
func (m *PohRequest) String() string { return proto.CompactTextString(m) }
func (*PohRequest) ProtoMessage()    {}

type PohAck struct {
	Slot  uint64 \`protobuf:"varint,1,opt,name=slot,proto3"\`
	Valid bool   \`protobuf:"varint,2,opt,name=valid,proto3"\`
}

func (m *PohAck) Reset()         { *m = PohAck{} }
func (m *PohAck) String() string { return proto.CompactTextString(m) }
func (*PohAck) ProtoMessage()    {}

type PohServiceClient struct{ conn *grpc.ClientConn }

func NewPohServiceClient(conn *grpc.ClientConn) PohServiceClient { return PohServiceClient{conn} }

func (c PohServiceClient) Prove(ctx context.Context, request *PohRequest) (*PohAck, error) {
	ack := new(PohAck)
	return ack, c.conn.Invoke(ctx, "/poh.v1.PohService/Prove", request, ack)
}

type PohServiceServer interface {
	Prove(context.Context, *PohRequest) (*PohAck, error)
}

func prove(node interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	request := new(PohRequest)
	if err := decode(request); err != nil {
		return nil, err
	}
	return node.(PohServiceServer).Prove(ctx, request)
}

func RegisterPohServiceServer(server *grpc.Server, node PohServiceServer) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "poh.v1.PohService",
		HandlerType: (*PohServiceServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Prove", Handler: prove}},
	}, node)
}
`

const portOf = (text: string, port: number) => text.replaceAll(":50051", `:${port}`)

/** The two programs. That of the server takes the functions of the client's. */
const programs = Effect.promise(async () => {
  const page = await readFile("docs/guide/interop.md", "utf8")
  const [client = "", server = ""] = [...page.matchAll(/```go\n(.*?)```\n/gs)].map(([, block]) => block)
  const shared = client.slice(client.indexOf("func check"), client.indexOf("func main"))
  return {
    client,
    server: `package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pohv1 "example.com/mesh/gen/poh/v1"
)

${shared}
type node struct{}

func (node) Prove(_ context.Context, request *pohv1.PohRequest) (*pohv1.PohAck, error) {
	return &pohv1.PohAck{Slot: request.Slot, Valid: true}, nil
}

func main() {
	fmt.Println("starting")
${server}}
`
  }
})

const handlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) => Effect.succeed({ slot, valid: iterations === 1000 }),
  proveBatch: () => Effect.succeed({ valid: 0 })
})

describeWhere(hasGrpcGo, "Go of the guide", "golang-google-grpc-dev is not installed", () => {
  it.scopedLive("calls a node, and serves a client", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const ca = yield* DevCa.make()
      const { cert, key } = yield* ca.issue({ names: ["localhost", "127.0.0.1"] })
      const wire = yield* Layer.build(Grpc.layer().pipe(Layer.provide(Credentials.layerPem({ cert, key, ca: ca.ca }))))
      const { address } = yield* Effect.provide(Transport.listen([handlers]), wire)
      const port = yield* freePort
      const { client, server } = yield* programs
      yield* Effect.promise(async () => {
        for (const [name, text] of [
          ["src/example.com/mesh/gen/poh/v1/poh.go", generated],
          ["src/client/main.go", portOf(client, address.port)],
          ["src/server/main.go", portOf(server, port)],
          ["ca.crt", ca.ca],
          ["node.crt", cert],
          ["node.key", Redacted.value(key)]
        ] as const) {
          await mkdir(join(dir, name, ".."), { recursive: true })
          await writeFile(join(dir, name), text)
        }
      })
      const environment = {
        GO111MODULE: "off",
        GOPATH: `${dir}:${goPath}`,
        GOCACHE: join(dir, "cache"),
        GOFLAGS: "",
        CGO_ENABLED: "0"
      }
      for (const name of ["client", "server"]) {
        const built = yield* run("go", ["build", "-o", `${name}.exe`, name], dir, environment)
        expect([built.code, built.text]).toEqual([0, ""])
      }
      const called = yield* within(run("./client.exe", [], dir), "20 seconds")
      expect([called.code, called.text.trim()]).toEqual([0, "7 true"])
      const { said } = yield* start("./server.exe", [], dir)
      yield* within(said(/starting/), "20 seconds")
      const poh = yield* Effect.provide(Transport.client(PohService, `localhost:${port}`, { waitForReady: true }), wire)
      expect(yield* poh.prove({ slot: 7n }, { timeout: "20 seconds" })).toMatchObject({ slot: 7n, valid: true })
    })
  )
})

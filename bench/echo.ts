import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import { EchoRequestSchema, EchoResponseSchema } from "../examples/gen/echo/v1/echo_pb.js"

/** All of 127.0.0.0/8 is this machine: to some contestants a further connection needs a further address. */
export const bindHost = "0.0.0.0"
export const host = "127.0.0.1"

const codec = <Desc extends DescMessage>(schema: Desc) => ({
  serialize: (value: MessageInitShape<Desc>): Buffer => {
    const bytes = toBinary(schema, create(schema, value))
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  },
  deserialize: (bytes: Uint8Array): MessageShape<Desc> => fromBinary(schema, bytes)
})

/** The messages for libraries that know nothing of protobuf-es, as one writes it for them by hand. */
export const request = codec(EchoRequestSchema)
export const response = codec(EchoResponseSchema)

export const echoPath = "/echo.v1.EchoService/Echo"

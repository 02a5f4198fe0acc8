/** Takes the place of grpc-js's compression filter, so that nothing is inflated. */
import * as Grpc from "@grpc/grpc-js"
import * as GrpcEncoding from "../../../protocol/grpc/GrpcEncoding.js"
import * as GrpcMessage from "../../../protocol/grpc/GrpcMessage.js"

interface Message {
  readonly message: Buffer
  readonly flags?: number
}

/** Frames messages as grpc-js's own filter does, but neither compresses nor inflates them, and says so to the peer. */
const filter = {
  sendMetadata: async (metadata: Promise<Grpc.Metadata>) => {
    const headers = await metadata
    headers.set(GrpcEncoding.acceptName, GrpcEncoding.identity)
    return headers
  },
  receiveMetadata: (headers: Grpc.Metadata) => {
    headers.remove("grpc-encoding")
    headers.remove(GrpcEncoding.acceptName)
    return headers
  },
  sendMessage: async (pending: Promise<Message>) => {
    const { flags, message } = await pending
    const framed = Buffer.allocUnsafe(GrpcMessage.prefixSize + message.length)
    framed.set(message, GrpcMessage.writePrefix(framed, 0, message.length))
    return { message: framed, flags }
  },
  receiveMessage: async (pending: Buffer | Promise<Buffer>) => {
    const framed = await pending
    if (framed[0] !== 0) {
      throw { code: Grpc.status.INTERNAL, details: GrpcEncoding.compressedAnswer }
    }
    return framed.subarray(GrpcMessage.prefixSize)
  },
  receiveTrailers: (status: Grpc.StatusObject) => status
}

const factory = { createFilter: () => filter }

/**
 * Replaces the filter that inflates what a server sends, and asks for it. Nothing public leads to it: where another grpc-js keeps
 * it elsewhere, it stays.
 */
export const install = (channel: Grpc.Channel): void => {
  const internal: unknown = Reflect.get(channel, "internalChannel")
  const stack: unknown =
    typeof internal === "object" && internal !== null ? Reflect.get(internal, "filterStackFactory") : undefined
  const factories: unknown = typeof stack === "object" && stack !== null ? Reflect.get(stack, "factories") : undefined
  if (Array.isArray(factories) && factories.length === 1) {
    factories[0] = factory
  }
}

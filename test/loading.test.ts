/** What a program pays for at import: an engine is loaded when a layer that needs it is built. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect, it } from "vitest"

const run = promisify(execFile)

/** A process loads all modules anew, for which a busy machine takes a minute: only a hang takes this. */
const timeout = 240_000

/** Which of the engines a program has loaded that imports the root and builds what an expression names. */
const loaded = async (layer: string): Promise<ReadonlyArray<string>> => {
  const program = `
    import { createRequire } from "node:module"
    import { Effect, Layer } from "effect"
    import * as Root from ${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)}
    const { Credentials, Grpc, GrpcLive } = Root
    await Effect.runPromise(Effect.scoped(Layer.build(Layer.provide(${layer}, Credentials.layerDev()))))
    const files = Object.keys(createRequire(import.meta.url).cache)
    const engines = ["@grpc/grpc-js", "@infisical/quic"].filter((name) => files.some((file) => file.includes(name)))
    console.log(JSON.stringify([...engines, ...process.moduleLoadList.filter((name) => name === "NativeModule http2")]))
  `
  const cwd = fileURLToPath(new URL("..", import.meta.url))
  const { stdout } = await run(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], { cwd })
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "")
}

describe("what is imported", () => {
  it("by the root and by GrpcLive is no other HTTP/2, and no engine", { timeout }, async () => {
    expect(await loaded("GrpcLive")).toEqual([])
  })

  it("by the layer on grpc-js is grpc-js", { timeout }, async () => {
    expect(await loaded("Grpc.layerGrpcJs()")).toContain("@grpc/grpc-js")
  })
})

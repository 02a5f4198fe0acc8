/** Ordinary clients of HTTP/2 and what is mounted beside the calls of GrpcLive. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { describeWith, run } from "../fixtures/command.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"
import { app, ca, meet, numbered, size, theirs, type Wire, wires } from "./mountSupport.js"

/** A listener, and a directory with what its clients need. */
const prepare = (wire: Wire) =>
  Effect.gen(function* () {
    const { target } = yield* meet(wire, app)
    const dir = yield* directory
    yield* Effect.promise(async () => {
      await writeFile(join(dir, "ca.pem"), ca.ca)
      await writeFile(join(dir, "cert.pem"), theirs.cert)
      await writeFile(join(dir, "key.pem"), Redacted.value(theirs.key))
      await writeFile(join(dir, "large"), numbered(size))
    })
    return { dir, url: `${wire.scheme}://${target}` }
  })

for (const wire of wires) {
  const isTls = wire.scheme === "https"

  describe(wire.name, () => {
    describeWith(["curl"], "curl", () => {
      it.live("probes, loads and uploads", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { dir, url } = yield* prepare(wire)
            const args = isTls
              ? ["--http2", "--cacert", "ca.pem", "--cert", "cert.pem", "--key", "key.pem"]
              : ["--http2-prior-knowledge"]
            const format = "\n%{http_version} %{http_code} %{size_download}"
            const curl = (...more: ReadonlyArray<string>) =>
              Effect.map(
                within(run("curl", ["-sS", "-w", format, ...args, ...more], dir), "20 seconds"),
                ({ code, stdout, text }) => (code === 0 ? stdout : `failed with ${code}: ${text}`)
              )
            expect(yield* curl(`${url}/metrics`)).toBe("calls_total 1\n\n2 200 14")
            expect(yield* curl("--data-binary", "@large", `${url}/sum`)).toMatch(
              new RegExp(`"length":${size},[^]*\n2 200 `)
            )
            expect(yield* curl("-o", "got", `${url}/large`)).toBe(`\n2 200 ${size}`)
            expect((yield* run("cmp", ["got", "large"], dir)).code).toBe(0)
            expect(yield* curl("--head", `${url}/large`)).toMatch(
              new RegExp(`^HTTP/2 200 [^]*content-length: ${size}\\r\\n[^]*\\n2 200 0$`)
            )
            expect(yield* curl(`${url}/elsewhere`)).toBe("\n2 404 0")
          })
        )
      )
    })

    describeWith(["nghttp"], "nghttp", () => {
      it.live("loads several at a time, and uploads, with a small window and padding", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { dir, url } = yield* prepare(wire)
            const args = [...(isTls ? ["--cert=cert.pem", "--key=key.pem"] : []), "--no-verify-peer"]
            const nghttp = (...more: ReadonlyArray<string>) =>
              within(run("nghttp", [...args, ...more], dir), "20 seconds")
            const loaded = yield* nghttp("-ns", "-w14", "-m20", `${url}/large`)
            expect(loaded.code).toBe(0)
            expect(loaded.stdout.match(/ 200 +2M \/large/g)).toHaveLength(20)
            const uploaded = yield* nghttp("-b100", "-d", "large", `${url}/sum`)
            expect([uploaded.code, uploaded.stdout]).toEqual([0, expect.stringContaining(`"length":${size},`)])
            const early = yield* nghttp("-d", "large", `${url}/unread`)
            expect([early.code, early.stdout]).toEqual([0, "done"])
          })
        )
      )
    })
  })
}

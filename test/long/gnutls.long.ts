/** PKCS#12 as GnuTLS writes it, with 600,000 iterations that it takes several seconds for itself. */
import { execFile } from "node:child_process"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Credentials from "../../src/Credentials/Credentials.js"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { describeWith } from "../fixtures/command.js"
import { tlsOf } from "../fixtures/tls.js"
import { heldDuring } from "../suite/fixtures/observe.js"
import { directory } from "../suite/fixtures/system.js"

describeWith(["certtool"], "PKCS#12 of GnuTLS", () => {
  it.scopedLive.each<readonly [string, string]>([
    ["AES", "aes-256"],
    ["3DES", "3des-pkcs12"]
  ])(
    "with %s and its 600,000 iterations",
    ([, cipher]) =>
      Effect.gen(function* () {
        const dir = yield* directory
        const issuer = yield* DevCa.make()
        const { cert, key } = yield* issuer.issue({ names: ["localhost"] })
        yield* Effect.promise(() => writeFile(join(dir, "cert.pem"), cert))
        yield* Effect.promise(() => writeFile(join(dir, "key.pem"), Redacted.value(key)))
        yield* Effect.promise(() =>
          promisify(execFile)(
            "certtool",
            [
              ...["--to-p12", "--outder", "--load-certificate", "cert.pem", "--load-privkey", "key.pem"],
              ...["--p12-name", "node", "--password", "secret", "--pkcs-cipher", cipher, "--outfile", "a.p12"]
            ],
            { cwd: dir }
          )
        )
        const pfx = yield* Effect.promise(() => readFile(join(dir, "a.p12")))
        const started = performance.now()
        const [{ certificate }, held] = yield* heldDuring(
          tlsOf(Credentials.layerPkcs12({ pfx, passphrase: "secret", ca: issuer.ca }))
        )
        expect(Option.getOrThrow(certificate).chain.trim()).toBe(cert.trim())
        console.log(`${cipher}: ${Math.round(performance.now() - started)} ms, held for ${Math.round(held)} ms at most`)
        expect(held).toBeLessThan(250)
      }),
    120_000
  )
})

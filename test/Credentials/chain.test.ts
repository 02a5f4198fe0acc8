import { createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Chain from "../../src/Credentials/internal/chain.js"
import { fingerprint, type Holder, holder, type MintOptions, mint, read } from "../suite/fixtures/mint.js"

const odd = (bits: number) => {
  const bytes = randomBytes(bits / 8)
  bytes[0] = (bytes[0] ?? 0) | 0x80
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 1
  return bytes
}

const leafNames = { names: ["localhost", "127.0.0.1", "spiffe://a.example/x"] }

/** Looks for a path among certificates in PEM. */
const find = (
  chain: ReadonlyArray<string>,
  anchors: ReadonlyArray<string>,
  options: Partial<Pick<Chain.Search, "allowsPartial" | "now" | "usage">> & {
    readonly others?: ReadonlyArray<string>
  } = {}
) =>
  Chain.find({
    chain: chain.map(read),
    anchors: anchors.map(read),
    allowsPartial: false,
    usage: "server",
    now: Date.now(),
    ...options,
    others: (options.others ?? []).map(read)
  })

const pki = Effect.gen(function* () {
  const [root, other, middle, leaf, forger] = yield* Effect.all(
    ["root", "other", "middle", "leaf", "root"].map((name) => holder(name))
  ) as Effect.Effect<[Holder, Holder, Holder, Holder, Holder]>
  return {
    root,
    other,
    middle,
    leaf,
    rootCert: yield* mint(root, root),
    /** The same key and name, in another certificate. */
    rootAgain: yield* mint(root, root, { notAfter: new Date(Date.now() + 7200_000) }),
    otherCert: yield* mint(other, other),
    /** The same name, with a key of its own. */
    forgedRoot: yield* mint(forger, forger),
    middleCert: yield* mint(middle, root),
    /** The intermediate's key, for which the other root vouches too. */
    crossCert: yield* mint(middle, other),
    leafCert: yield* mint(leaf, middle, leafNames),
    directCert: yield* mint(leaf, root, leafNames)
  }
})

const anchorOf = (found: ReturnType<typeof find>) => (typeof found === "string" ? found : found.anchor)

describe("the path of a chain", () => {
  it.live("leads to the CA that has signed, and no further", () =>
    Effect.gen(function* () {
      const known = yield* pki
      const { directCert, forgedRoot, leafCert, middleCert, otherCert, rootCert } = known
      expect(anchorOf(find([directCert], [otherCert, rootCert]))).toBe(fingerprint(rootCert))
      expect(anchorOf(find([leafCert, middleCert], [rootCert]))).toBe(fingerprint(rootCert))
      // From this side's list, where the peer sends too little.
      expect(anchorOf(find([leafCert], [rootCert], { others: [middleCert] }))).toBe(fingerprint(rootCert))
      // A root that was sent is trusted only where this side knows it.
      expect(find([leafCert, middleCert, rootCert], [otherCert])).toBe("UntrustedIssuer")
      // Of the same name, but not the one that has signed.
      expect(find([directCert], [forgedRoot])).toBe("UntrustedIssuer")
      expect(anchorOf(find([directCert], [forgedRoot, rootCert]))).toBe(fingerprint(rootCert))
      expect(find([], [rootCert])).toBe("BadCertificate")
    })
  )

  it.live("is found through a cross-signed intermediate, whatever the order of what was sent", () =>
    Effect.gen(function* () {
      const { crossCert, leafCert, middleCert, otherCert, rootCert } = yield* pki
      for (const sent of [
        [middleCert, crossCert],
        [crossCert, middleCert]
      ]) {
        expect(anchorOf(find([leafCert, ...sent], [otherCert]))).toBe(fingerprint(otherCert))
        expect(anchorOf(find([leafCert, ...sent], [rootCert]))).toBe(fingerprint(rootCert))
      }
    })
  )

  it.live("tells certificates of the same key and name apart", () =>
    Effect.gen(function* () {
      const { directCert, rootAgain, rootCert } = yield* pki
      expect(anchorOf(find([directCert], [rootAgain]))).toBe(fingerprint(rootAgain))
      expect(anchorOf(find([directCert, rootAgain], [rootCert]))).toBe(fingerprint(rootCert))
    })
  )

  it.live("ends at an intermediate only where that is asked for", () =>
    Effect.gen(function* () {
      const { leafCert, middleCert, rootCert } = yield* pki
      expect(find([leafCert], [middleCert])).toBe("UntrustedIssuer")
      expect(anchorOf(find([leafCert], [middleCert], { allowsPartial: true }))).toBe(fingerprint(middleCert))
      expect(anchorOf(find([leafCert], [middleCert, rootCert], { allowsPartial: true }))).toBe(fingerprint(rootCert))
    })
  )

  it.live("has only certificates that are valid, and lasts as long as the first of them", () =>
    Effect.gen(function* () {
      const { leaf, leafCert, middle, middleCert, root, rootCert } = yield* pki
      const soon = new Date(Math.ceil(Date.now() / 1000) * 1000 + 60_000)
      const shortMiddle = yield* mint(middle, root, { notAfter: soon })
      expect(find([leafCert, shortMiddle], [rootCert])).toMatchObject({ notAfter: soon.getTime() })
      expect(find([leafCert, shortMiddle], [rootCert], { now: soon.getTime() + 1 })).toBe("Expired")
      // Another certificate of the same intermediate is as good.
      expect(anchorOf(find([leafCert, shortMiddle, middleCert], [rootCert], { now: soon.getTime() + 1 }))).toBe(
        fingerprint(rootCert)
      )
      const early = yield* mint(middle, root, { notBefore: soon })
      expect(find([leafCert, early], [rootCert])).toBe("NotYetValid")
      const shortRoot = yield* mint(root, root, { notAfter: soon })
      expect(find([leafCert, middleCert], [shortRoot], { now: soon.getTime() + 1 })).toBe("Expired")
      const shortLeaf = yield* mint(leaf, middle, { ...leafNames, notAfter: soon })
      expect(find([shortLeaf, middleCert], [rootCert], { now: soon.getTime() + 1 })).toBe("Expired")
    })
  )

  it.live("has only CAs above the leaf, no more than they allow, and of the right purpose", () =>
    Effect.gen(function* () {
      const { leaf, leafCert, middle, middleCert, root, rootCert } = yield* pki
      const serverAuth = "1.3.6.1.5.5.7.3.1"
      const clientAuth = "1.3.6.1.5.5.7.3.2"
      const through = (options: MintOptions) =>
        Effect.map(mint(middle, root, options), (one) => find([leafCert, one], [rootCert]))
      expect(yield* through({ ca: false })).toBe("UntrustedIssuer")
      expect(yield* through({ pathLength: 0 })).toHaveProperty("anchor")
      expect(yield* through({ usages: [clientAuth] })).toBe("UntrustedIssuer")
      expect(yield* through({ usages: [clientAuth, serverAuth] })).toHaveProperty("anchor")
      expect(find([leafCert, middleCert], [yield* mint(root, root, { pathLength: 0 })])).toBe("UntrustedIssuer")
      expect(find([leafCert, middleCert], [yield* mint(root, root, { pathLength: 1 })])).toHaveProperty("anchor")
      const forClients = yield* mint(leaf, root, { ...leafNames, usages: [clientAuth] })
      expect(find([forClients], [rootCert])).toBe("InvalidPurpose")
      expect(find([forClients], [rootCert], { usage: "client" })).toHaveProperty("anchor")
    })
  )

  it.live("has only CAs that may speak for the names of the leaf", () =>
    Effect.gen(function* () {
      const { leafCert, middle, root, rootCert } = yield* pki
      const der = (tag: number, ...contents: ReadonlyArray<Buffer>) => {
        const content = Buffer.concat(contents)
        return Buffer.concat([Buffer.from([tag, content.length]), content])
      }
      const base = (tag: number, value: string | Buffer) => der(0x30, der(tag, Buffer.from(value)))
      const [dns, uri, ip] = [0x82, 0x86, 0x87]
      const loopback = Buffer.from([127, 0, 0, 0, 255, 0, 0, 0])
      const through = (list: "permitted" | "excluded", ...bases: ReadonlyArray<Buffer>) =>
        Effect.map(
          mint(middle, root, { extensions: [[30, der(0x30, der(list === "permitted" ? 0xa0 : 0xa1, ...bases))]] }),
          (one) => anchorOf(find([leafCert, one], [rootCert]))
        )
      const [yes, no] = [fingerprint(rootCert), "UntrustedIssuer"]
      expect(yield* through("permitted", base(uri, "a.example"))).toBe(yes)
      expect(yield* through("permitted", base(uri, "b.example"))).toBe(no)
      expect(yield* through("permitted", base(uri, ".example"))).toBe(yes)
      expect(yield* through("permitted", base(dns, "localhost"), base(ip, loopback))).toBe(yes)
      expect(yield* through("permitted", base(dns, "example"))).toBe(no)
      expect(yield* through("permitted", base(ip, Buffer.from([10, 0, 0, 0, 255, 0, 0, 0])))).toBe(no)
      expect(yield* through("excluded", base(uri, "a.example"))).toBe(no)
      expect(yield* through("excluded", base(uri, "b.example"))).toBe(yes)
      expect(yield* through("excluded", base(ip, loopback))).toBe(no)
    })
  )

  it.live("is given up when it is long, or costs too many signatures", () =>
    Effect.gen(function* () {
      const { leaf, leafCert, middleCert, rootCert } = yield* pki
      const holders = yield* Effect.forEach(Array.from({ length: Chain.maxLength }), (_, index) =>
        holder(`ca ${index}`)
      )
      const certs = yield* Effect.forEach(holders, (each, index) => mint(each, holders[Math.max(0, index - 1)] ?? each))
      const below = (depth: number) =>
        Effect.map(mint(leaf, holders[depth - 1] ?? leaf, leafNames), (cert) =>
          find([cert, ...certs.slice(1, depth).reverse()], certs.slice(0, 1))
        )
      expect(yield* below(Chain.maxLength - 1)).toHaveProperty("anchor")
      expect(yield* below(Chain.maxLength)).toBe("UntrustedIssuer")
      // Forgeries of the intermediate, each with another key.
      const forgeries = yield* Effect.forEach(Array.from({ length: Chain.maxSignatures }), () =>
        Effect.flatMap(holder("middle"), (forger) => mint(forger, forger))
      )
      const others = (count: number) => ({ others: [...forgeries.slice(0, count), middleCert] })
      expect(find([leafCert], [rootCert], others(Chain.maxSignatures - 2))).toHaveProperty("anchor")
      expect(find([leafCert], [rootCert], others(Chain.maxSignatures))).toBe("UntrustedIssuer")
    })
  )

  it.live("is not led through keys that a peer has made so that each signature costs much", () =>
    Effect.gen(function* () {
      const { leaf, root, rootCert } = yield* pki
      const middle: Holder = { name: "middle", ...generateKeyPairSync("rsa", { modulusLength: 2048 }) }
      const [leafCert, middleCert] = [yield* mint(leaf, middle, leafNames), yield* mint(middle, root)]
      // As an exponent takes its time: this modulus is nobody's.
      const publicKey = createPublicKey({
        key: { kty: "RSA", n: odd(3072).toString("base64url"), e: odd(3064).toString("base64url") },
        format: "jwk"
      })
      const forged = yield* mint({ ...middle, publicKey }, middle)
      const chain = [leafCert, forged, middleCert]
      const verify = vi.spyOn(X509Certificate.prototype, "verify")
      yield* Effect.addFinalizer(() => Effect.sync(() => verify.mockRestore()))
      expect(anchorOf(find(chain, [rootCert]))).toBe(fingerprint(rootCert))
      expect(verify.mock.calls.map(([key]) => key.asymmetricKeyType)).toEqual(["rsa", "ec"])
    }).pipe(Effect.scoped)
  )
})

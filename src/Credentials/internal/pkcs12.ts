/**
 * PKCS#12 to the certificates and the key in it (RFC 7292), and encrypted PKCS#8 to the key in it (RFC 5958). Node's own
 * reader of PKCS#12 refuses much of what is around: RC2 and 3DES, files without a MAC, files of certificates only. That of
 * PKCS#8 derives keys on the event loop, as many rounds as it is told. ASN.1, RC2 and DES are node-forge's; the walk through the file is
 * here, so that none can ask for more work than anyone wants to do. Keys are derived beside the event loop (PBKDF2,
 * scrypt), or in short pieces of it (the derivation of PKCS#12 itself).
 */
import { createDecipheriv, createHmac, getCipherInfo, pbkdf2, scrypt } from "node:crypto"
import { createRequire } from "node:module"
import { promisify } from "node:util"
import type * as Forge from "node-forge"
import * as Kdf from "./pkcs12Kdf.js"

/** What is in a file, as DER: certificates in their order, and private keys as PKCS#8. */
export interface Contents {
  readonly certificates: ReadonlyArray<Buffer>
  readonly keys: ReadonlyArray<Buffer>
}

/** Why a file could not be read. The text never holds anything of its contents. */
export class Pkcs12Problem {
  constructor(
    readonly reason: "Malformed" | "WrongPassphrase",
    readonly text: string
  ) {}
}

const wrongPassphrase = new Pkcs12Problem("WrongPassphrase", "can't be decrypted with the passphrase given")

const malformed = (text: string) => new Pkcs12Problem("Malformed", text)

/** Iterations of one derivation. The most that tools ask for on their own are the 600,000 of GnuTLS. */
const maxIterations = 5_000_000

/**
 * Rounds of all derivations together, each of which costs up to a microsecond: with the older ciphers GnuTLS comes to two
 * million for each part of a file.
 */
const maxRounds = 10_000_000

const oids = {
  data: "1.2.840.113549.1.7.1",
  encryptedData: "1.2.840.113549.1.7.6",
  keyBag: "1.2.840.113549.1.12.10.1.1",
  shroudedKeyBag: "1.2.840.113549.1.12.10.1.2",
  certBag: "1.2.840.113549.1.12.10.1.3",
  safeContentsBag: "1.2.840.113549.1.12.10.1.6",
  x509Certificate: "1.2.840.113549.1.9.22.1",
  pbes2: "1.2.840.113549.1.5.13",
  pbkdf2: "1.2.840.113549.1.5.12",
  scrypt: "1.3.6.1.4.1.11591.4.11",
  desCbc: "1.3.14.3.2.7",
  pbmac1: "1.2.840.113549.1.5.14"
}

/** HMAC by these hashes (RFC 8018, appendix B.1). */
const hmacs = new Map<string, keyof typeof Kdf.hashes>([
  ["1.2.840.113549.2.7", "sha1"],
  ["1.2.840.113549.2.8", "sha224"],
  ["1.2.840.113549.2.9", "sha256"],
  ["1.2.840.113549.2.10", "sha384"],
  ["1.2.840.113549.2.11", "sha512"]
])

/** The key of a PBMAC1 in bytes: RFC 9579, section 9, advises against shorter ones, and nobody writes longer ones. */
const macKeySizes = { min: 20, max: 1024 }

/** The name of a cipher of PBES2 and the size of its key in bytes: those that OpenSSL has, and the DES that it had. */
const pbes2Cipher = (oid: string): readonly [name: string, keySize: number] | undefined => {
  const info = oid === oids.desCbc ? { name: "des-cbc", keyLength: 8, mode: "cbc" } : getCipherInfo(oid)
  return info?.mode === "cbc" ? [info.name, info.keyLength] : undefined
}

/** What scrypt may use at a time, in bytes; OpenSSL allows its own files 32 MiB. */
const maxScryptMemory = 64 * 1024 * 1024

interface ScryptOptions {
  readonly N: number
  readonly r: number
  readonly p: number
}

const deriveByScrypt = (secret: string, salt: Buffer, size: number, options: ScryptOptions): Promise<Buffer> =>
  new Promise((resolve, reject) =>
    scrypt(secret, salt, size, { ...options, maxmem: 2 * maxScryptMemory }, (error, key) =>
      error === null ? resolve(key) : reject(error)
    )
  )

const deriveKey = promisify(pbkdf2)

const isRc2 = new Set(["1.2.840.113549.1.12.1.5", "1.2.840.113549.1.12.1.6"])

/** 3DES with three and two keys, RC2 with 128 and 40 bits: the sizes of their keys in bytes. */
const keySizes = new Map([
  ["1.2.840.113549.1.12.1.3", 24],
  ["1.2.840.113549.1.12.1.4", 16],
  ["1.2.840.113549.1.12.1.5", 16],
  ["1.2.840.113549.1.12.1.6", 5]
])

const isHash = (name: string): name is keyof typeof Kdf.hashes => name in Kdf.hashes

/** Bags can hold bags. */
const maxDepth = 8

type Node = Forge.asn1.Asn1

/** What is encrypted, by a passphrase; undefined or a rejection where it is the wrong one. */
type Decipher = (secret: string | null) => Promise<string | undefined>

/** What node-forge has, and its types have not. */
interface Untyped {
  readonly des: { readonly createDecryptionCipher: typeof Forge.rc2.createDecryptionCipher }
}

/** Reads a file. Rejects with `Pkcs12Problem`, and nothing else. */
export const read = (bytes: Uint8Array, passphrase: string): Promise<Contents> =>
  reader(passphrase, "is no PKCS#12").read(bytes)

/** Decrypts an EncryptedPrivateKeyInfo to PKCS#8. Rejects with `Pkcs12Problem`, and nothing else. */
export const decryptKey = (bytes: Uint8Array, passphrase: string): Promise<Buffer> =>
  reader(passphrase, "is no encrypted private key").decryptKey(bytes)

const reader = (passphrase: string, otherwise: string) => {
  const forge: typeof Forge = createRequire(import.meta.url)("node-forge")
  const { asn1 } = forge
  const { des } = forge as object as Untyped
  let rounds = 0

  const parse = (der: string): Node => {
    try {
      return asn1.fromDer(forge.util.createBuffer(der, "raw"))
    } catch {
      throw malformed(`${otherwise}: its ASN.1 can't be read`)
    }
  }

  const children = (node: Node | undefined): ReadonlyArray<Node> => {
    if (node === undefined || !Array.isArray(node.value)) {
      throw malformed(otherwise)
    }
    return node.value
  }

  /** The bytes of an octet string, which BER may have cut into pieces. */
  const octets = (node: Node | undefined): string => {
    if (node === undefined) {
      throw malformed(otherwise)
    }
    return typeof node.value === "string" ? node.value : node.value.map(octets).join("")
  }

  const oid = (node: Node | undefined): string => {
    if (node?.type !== asn1.Type.OID || typeof node.value !== "string") {
      throw malformed(otherwise)
    }
    return asn1.derToOid(node.value)
  }

  const integer = (node: Node | undefined, what: string): number => {
    const value = node?.value
    if (typeof value !== "string" || node?.type !== asn1.Type.INTEGER || value.length === 0 || value.length > 6) {
      throw malformed(`has a ${what} that can't be`)
    }
    return Buffer.from(value, "latin1").readIntBE(0, value.length)
  }

  const charge = (cost: number, count: number): void => {
    rounds += cost
    if (count < 1 || count > maxIterations || rounds > maxRounds) {
      throw malformed(`asks for ${count} iterations, which is more than anyone should wait for`)
    }
  }

  const spend = (node: Node | undefined, roundsEach: number): number => {
    const count = integer(node, "count of iterations")
    charge(count * roundsEach, count)
    return count
  }

  /** The content of a ContentInfo: its kind, and what is in its explicit tag. */
  const content = (node: Node): readonly [kind: string, content: Node | undefined] => {
    const [kind, tagged] = children(node)
    return [oid(kind), tagged === undefined ? undefined : children(tagged)[0]]
  }

  /** An empty passphrase is either an empty string or none at all, whatever the writer took it for. */
  const secrets: ReadonlyArray<string | null> = passphrase === "" ? ["", null] : [passphrase]

  const unknown = () => malformed("is encrypted with a cipher or hash that is not known")

  /** DES, which OpenSSL has given up. */
  const decryptDes = (key: Buffer, iv: Buffer, encrypted: string): string | undefined => {
    const cipher = des.createDecryptionCipher(key.toString("latin1"))
    cipher.start(iv.toString("latin1"))
    cipher.update(forge.util.createBuffer(encrypted, "raw"))
    return cipher.finish() ? cipher.output.getBytes() : undefined
  }

  /** Takes the passphrase as UTF-8. */
  type Derivation = (secret: string, keySize: number) => Promise<Buffer>

  /** PBKDF2 (RFC 8018, section 5.2); its work is charged for when the size of the key is known. */
  const byPbkdf2 = (settings: Node | undefined): ((keySize: number) => Derivation) => {
    const [salt, count, ...more] = children(settings)
    const prf = more.find(({ type }) => type === asn1.Type.SEQUENCE)
    const hash = prf === undefined ? "sha1" : hmacs.get(oid(children(prf)[0]))
    if (hash === undefined || salt?.type !== asn1.Type.OCTETSTRING) {
      throw unknown()
    }
    const from = Buffer.from(octets(salt), "latin1")
    return (keySize) => {
      const iterations = spend(count, Kdf.roundsFor(hash, keySize))
      return (secret) => deriveKey(secret, from, iterations, keySize, hash)
    }
  }

  /** scrypt (RFC 7914, section 7): two rounds for each block of 128 bytes. */
  const byScrypt = (settings: Node | undefined): ((keySize: number) => Derivation) => {
    const [salt, cost, blockSize, parallelization] = children(settings)
    const [N, r, p] = [
      integer(cost, "cost"),
      integer(blockSize, "block size"),
      integer(parallelization, "parallelization")
    ]
    if (salt?.type !== asn1.Type.OCTETSTRING || N < 2 || !Number.isInteger(Math.log2(N)) || r < 1 || p < 1) {
      throw malformed("has settings of scrypt that can't be")
    }
    if (128 * N * r > maxScryptMemory) {
      throw malformed(`asks for ${128 * N * r} bytes of memory, which is more than anyone should give`)
    }
    charge(2 * N * r * p, N)
    const from = Buffer.from(octets(salt), "latin1")
    return (keySize) => (secret) => deriveByScrypt(secret, from, keySize, { N, r, p })
  }

  /** PBES2 (RFC 8018). */
  const pbes2 = (parameters: Node | undefined, encrypted: string): Decipher => {
    const [derivation, scheme] = children(parameters)
    const [kind, settings] = children(derivation)
    const known = { [oids.pbkdf2]: byPbkdf2, [oids.scrypt]: byScrypt }[oid(kind)]
    if (known === undefined) {
      throw malformed("is encrypted with a key derivation that is not known")
    }
    const [cipher, iv] = children(scheme)
    const [name, keySize] = pbes2Cipher(oid(cipher)) ?? []
    if (name === undefined || keySize === undefined) {
      throw unknown()
    }
    const derive = known(settings)(keySize)
    const start = Buffer.from(octets(iv), "latin1")
    return async (secret) => {
      const key = await derive(secret ?? "", keySize)
      if (name === "des-cbc") {
        return decryptDes(key, start, encrypted)
      }
      const decipher = createDecipheriv(name, key, start)
      return decipher.update(encrypted, "latin1", "latin1") + decipher.final("latin1")
    }
  }

  /** The ciphers of PKCS#12 itself (RFC 7292, appendix C). */
  const pkcs12Pbe = (name: string, keySize: number, parameters: Node | undefined, encrypted: string): Decipher => {
    const [salt, count] = children(parameters)
    const iterations = spend(count, Kdf.roundsFor("sha1", keySize) + 1)
    const from = Buffer.from(octets(salt), "latin1")
    return async (secret) => {
      const key = await Kdf.derive("sha1", "key", secret, from, iterations, keySize)
      const iv = await Kdf.derive("sha1", "iv", secret, from, iterations, 8)
      if (!isRc2.has(name)) {
        const cipher = createDecipheriv(
          "des-ede3-cbc",
          keySize === 16 ? Buffer.concat([key, key.subarray(0, 8)]) : key,
          iv
        )
        return cipher.update(encrypted, "latin1", "latin1") + cipher.final("latin1")
      }
      const cipher = forge.rc2.createDecryptionCipher(key.toString("latin1"), keySize * 8)
      cipher.start(iv.toString("latin1"))
      cipher.update(forge.util.createBuffer(encrypted, "raw"))
      return cipher.finish() ? cipher.output.getBytes() : undefined
    }
  }

  const decrypt = async (algorithm: Node | undefined, encrypted: string): Promise<Node> => {
    const [kind, parameters] = children(algorithm)
    const name = oid(kind)
    const keySize = keySizes.get(name)
    if (name !== oids.pbes2 && keySize === undefined) {
      throw malformed(`is encrypted with ${name}, which is not known`)
    }
    const decipher =
      keySize === undefined ? pbes2(parameters, encrypted) : pkcs12Pbe(name, keySize, parameters, encrypted)
    for (const secret of secrets) {
      try {
        const decrypted = await decipher(secret)
        if (decrypted !== undefined) {
          return asn1.fromDer(forge.util.createBuffer(decrypted, "raw"))
        }
      } catch (error) {
        if (error instanceof Pkcs12Problem) {
          throw error
        }
        // A padding that is wrong, or, for one of 256 wrong passphrases, one that looks right and then no ASN.1.
      }
    }
    throw wrongPassphrase
  }

  const certificates: Array<Buffer> = []
  const keys: Array<Buffer> = []

  const toDer = (node: Node): Buffer => Buffer.from(asn1.toDer(node).getBytes(), "latin1")

  const readBags = async (safe: Node, depth: number): Promise<void> => {
    if (depth > maxDepth) {
      throw malformed("is nested too deeply")
    }
    for (const bag of children(safe)) {
      const [kind, value] = content(bag)
      if (value === undefined) {
        throw malformed("has an empty bag")
      }
      switch (kind) {
        case oids.keyBag:
          keys.push(toDer(value))
          break
        case oids.shroudedKeyBag: {
          const [algorithm, encrypted] = children(value)
          keys.push(toDer(await decrypt(algorithm, octets(encrypted))))
          break
        }
        case oids.certBag: {
          const [type, certificate] = content(value)
          if (type === oids.x509Certificate) {
            certificates.push(Buffer.from(octets(certificate), "latin1"))
          }
          break
        }
        case oids.safeContentsBag:
          await readBags(value, depth + 1)
          break
      }
    }
  }

  const hmacOf = (algorithm: Node | undefined): keyof typeof Kdf.hashes => {
    const name = oid(children(algorithm)[0])
    const hash = hmacs.get(name)
    if (hash === undefined) {
      throw malformed(`has a MAC by ${name}, which is not known`)
    }
    return hash
  }

  /** The key of a MAC from a passphrase, and the hash for it. */
  interface MacKey {
    readonly hash: keyof typeof Kdf.hashes
    readonly keyOf: (secret: string | null) => Promise<Buffer>
  }

  /** PBMAC1 by PBKDF2, which takes the passphrase as UTF-8 (RFC 9579, section 4). */
  const pbmac1 = (parameters: Node | undefined): MacKey => {
    const [derivation, scheme] = children(parameters)
    const [kind, settings] = children(derivation)
    if (oid(kind) !== oids.pbkdf2) {
      throw malformed("has a MAC with a key derivation that is not known")
    }
    const [salt, count, length, prf] = children(settings)
    const size = integer(length, "key size of its MAC")
    if (salt?.type !== asn1.Type.OCTETSTRING || size < macKeySizes.min || size > macKeySizes.max) {
      throw malformed(`has a MAC with a salt or a key of ${size} bytes, which is not allowed`)
    }
    const hash = prf === undefined ? "sha1" : hmacOf(prf)
    const iterations = spend(count, Kdf.roundsFor(hash, size))
    const from = Buffer.from(octets(salt), "latin1")
    return { hash: hmacOf(scheme), keyOf: (secret) => deriveKey(secret ?? "", from, iterations, size, hash) }
  }

  /** What a MAC has been made with before that (RFC 7292, appendix B). */
  const pkcs12Mac = (name: string, salt: Node | undefined, count: Node | undefined): MacKey => {
    const hash = forge.pki.oids[name] ?? ""
    if (!isHash(hash)) {
      throw malformed(`has a MAC by ${name}, which is not known`)
    }
    const iterations = count === undefined ? 1 : spend(count, 1)
    const from = Buffer.from(octets(salt), "latin1")
    return { hash, keyOf: (secret) => Kdf.derive(hash, "mac", secret, from, iterations, Kdf.sizeOf(hash)) }
  }

  const checkMac = async (mac: Node, contents: string): Promise<void> => {
    const [digestInfo, salt, count] = children(mac)
    const [algorithm, digest] = children(digestInfo)
    const [kind, parameters] = children(algorithm)
    const name = oid(kind)
    const { hash, keyOf } = name === oids.pbmac1 ? pbmac1(parameters) : pkcs12Mac(name, salt, count)
    const expected = Buffer.from(octets(digest), "latin1")
    for (const secret of secrets) {
      const key = await keyOf(secret)
      if (createHmac(hash, key).update(contents, "latin1").digest().equals(expected)) {
        return
      }
    }
    throw new Pkcs12Problem("WrongPassphrase", "has a MAC that does not fit the passphrase given")
  }

  const readFile = async (bytes: Uint8Array): Promise<Contents> => {
    const [version, authenticated, mac] = children(parse(Buffer.from(bytes).toString("latin1")))
    if (version?.type !== asn1.Type.INTEGER || version.value !== "\x03" || authenticated === undefined) {
      throw malformed(otherwise)
    }
    const [kind, data] = content(authenticated)
    if (kind !== oids.data) {
      throw malformed("is protected by a public key instead of a passphrase")
    }
    const contents = octets(data)
    if (mac !== undefined) {
      await checkMac(mac, contents)
    }
    for (const part of children(parse(contents))) {
      const [kind, data] = content(part)
      if (kind === oids.data) {
        await readBags(parse(octets(data)), 0)
      } else if (kind === oids.encryptedData) {
        const [, algorithm, encrypted] = children(children(data)[1])
        await readBags(await decrypt(algorithm, octets(encrypted)), 0)
      }
    }
    return { certificates, keys }
  }

  /** Whether it is a PrivateKeyInfo: what a wrong passphrase makes of one may look like ASN.1. */
  const isKey = ({ value }: Node): boolean =>
    Array.isArray(value) &&
    value[0]?.type === asn1.Type.INTEGER &&
    value[1]?.type === asn1.Type.SEQUENCE &&
    value[2]?.type === asn1.Type.OCTETSTRING

  const readKey = async (bytes: Uint8Array): Promise<Buffer> => {
    const [algorithm, encrypted] = children(parse(Buffer.from(bytes).toString("latin1")))
    const key = await decrypt(algorithm, octets(encrypted))
    if (!isKey(key)) {
      throw wrongPassphrase
    }
    return toDer(key)
  }

  /** Whatever else is thrown came of bytes that are not what they should be. */
  const guarded =
    <A>(f: (bytes: Uint8Array) => Promise<A>) =>
    (bytes: Uint8Array): Promise<A> =>
      f(bytes).catch((error) => {
        throw error instanceof Pkcs12Problem ? error : malformed(otherwise)
      })

  return { read: guarded(readFile), decryptKey: guarded(readKey) }
}

/**
 * Decrypts what a PKCS#12 holds, and checks its MAC. Each derivation is charged for before it begins. Keys are derived
 * beside the event loop (PBKDF2, scrypt), or in short pieces of it (the derivation of PKCS#12 itself).
 */
import { createDecipheriv, createHmac, pbkdf2, scrypt } from "node:crypto"
import { createRequire } from "node:module"
import { promisify } from "node:util"
import type * as Forge from "node-forge"
import { type Meter, Pkcs12Problem } from "./pkcs12Budget.js"
import * as Kdf from "./pkcs12Kdf.js"
import type { Encrypted, Mac, Pbes2Encryption, Pbkdf2, Pkcs12Encryption, Scrypt } from "./pkcs12Reader.js"

const deriveByPbkdf2 = promisify(pbkdf2)

const deriveByScrypt = (secret: string, { N, p, r, salt }: Scrypt, size: number, maxmem: number): Promise<Buffer> =>
  new Promise((resolve, reject) =>
    scrypt(secret, salt, size, { N, r, p, maxmem }, (error, key) => (error === null ? resolve(key) : reject(error)))
  )

/** An empty passphrase is an empty string to some writers, and none at all (null) to others. */
const secretsOf = (passphrase: string): ReadonlyArray<string | null> => (passphrase === "" ? ["", null] : [passphrase])

/** Node's OpenSSL has no RC2 and no DES any more. */
interface ForgeCiphers {
  readonly rc2: Pick<typeof Forge.rc2, "createDecryptionCipher">
  /** Not in the types of node-forge. */
  readonly des: Pick<typeof Forge.rc2, "createDecryptionCipher">
  readonly util: Pick<typeof Forge.util, "createBuffer">
}

const loadForge = (): ForgeCiphers => createRequire(import.meta.url)("node-forge")

const decryptByForge = (
  cipherOf: (forge: ForgeCiphers) => ReturnType<typeof Forge.rc2.createDecryptionCipher>,
  iv: Buffer,
  bytes: Buffer
): Buffer | undefined => {
  const forge = loadForge()
  const cipher = cipherOf(forge)
  cipher.start(iv.toString("latin1"))
  cipher.update(forge.util.createBuffer(bytes.toString("latin1"), "raw"))
  return cipher.finish() ? Buffer.from(cipher.output.getBytes(), "latin1") : undefined
}

const decryptByNode = (cipher: string, key: Buffer, iv: Buffer, bytes: Buffer): Buffer => {
  const decipher = createDecipheriv(cipher, key, iv)
  return Buffer.concat([decipher.update(bytes), decipher.final()])
}

/** Decrypts with one secret; undefined or a rejection if it is the wrong one. */
type Decipher = (secret: string | null) => Promise<Buffer | undefined>

/** The key from a passphrase, which both derivations take as UTF-8. */
const keyBy = (derivation: Pbkdf2 | Scrypt, keyBytes: number, meter: Meter): ((secret: string) => Promise<Buffer>) => {
  if (derivation._tag === "Pbkdf2") {
    const { hash, iterations, salt } = derivation
    meter.derivation(iterations * Kdf.roundsFor(hash, keyBytes), iterations)
    return (secret) => deriveByPbkdf2(secret, salt, iterations, keyBytes, hash)
  }
  const { N, p, r } = derivation
  meter.scryptMemory(128 * N * r)
  // Two rounds for each block of 128 bytes.
  meter.derivation(2 * N * r * p, N)
  return (secret) => deriveByScrypt(secret, derivation, keyBytes, 2 * meter.budget.maxScryptBytes)
}

const pbes2 = ({ cipher, derivation, iv, keyBytes }: Pbes2Encryption, bytes: Buffer, meter: Meter): Decipher => {
  const derive = keyBy(derivation, keyBytes, meter)
  return async (secret) => {
    const key = await derive(secret ?? "")
    return cipher === "des-cbc"
      ? decryptByForge(({ des }) => des.createDecryptionCipher(key.toString("latin1")), iv, bytes)
      : decryptByNode(cipher, key, iv, bytes)
  }
}

const pkcs12 = ({ cipher, iterations, keyBytes, salt }: Pkcs12Encryption, bytes: Buffer, meter: Meter): Decipher => {
  meter.derivation(iterations * (Kdf.roundsFor("sha1", keyBytes) + 1), iterations)
  return async (secret) => {
    const key = await Kdf.derive("sha1", "key", secret, salt, iterations, keyBytes)
    const iv = await Kdf.derive("sha1", "iv", secret, salt, iterations, 8)
    if (cipher === "rc2") {
      return decryptByForge(({ rc2 }) => rc2.createDecryptionCipher(key.toString("latin1"), keyBytes * 8), iv, bytes)
    }
    const tripleKey = keyBytes === 16 ? Buffer.concat([key, key.subarray(0, 8)]) : key
    return decryptByNode("des-ede3-cbc", tripleKey, iv, bytes)
  }
}

const wrongPassphrase = () => new Pkcs12Problem("WrongPassphrase", "can't be decrypted with the passphrase given")

/**
 * Decrypts, and passes the plain bytes to `parse`. Rejects with `Pkcs12Problem`: `Malformed` if the derivation costs
 * too much, `WrongPassphrase` if nothing comes out that `parse` takes.
 */
export const decrypt = async <A>(
  { bytes, encryption }: Encrypted,
  passphrase: string,
  meter: Meter,
  parse: (plain: Buffer) => A
): Promise<A> => {
  const decipher = encryption._tag === "Pbes2" ? pbes2(encryption, bytes, meter) : pkcs12(encryption, bytes, meter)
  for (const secret of secretsOf(passphrase)) {
    try {
      const plain = await decipher(secret)
      if (plain !== undefined) {
        return parse(plain)
      }
    } catch (error) {
      if (error instanceof Pkcs12Problem) {
        throw error
      }
      // The padding is wrong, or, for one of 256 wrong passphrases, it looks right and no ASN.1 comes out.
    }
  }
  throw wrongPassphrase()
}

const macKeyBy = (mac: Mac, meter: Meter): ((secret: string | null) => Promise<Buffer>) => {
  if (mac._tag === "Pbmac1") {
    const derive = keyBy(mac.derivation, mac.keyBytes, meter)
    return (secret) => derive(secret ?? "")
  }
  const { hash, iterations, salt } = mac
  meter.derivation(iterations, iterations)
  return (secret) => Kdf.derive(hash, "mac", secret, salt, iterations, Kdf.sizeOf(hash))
}

/**
 * Checks the MAC over the contents. Rejects with `Pkcs12Problem`: `Malformed` if the derivation costs too much,
 * `WrongPassphrase` if the MAC is another.
 */
export const checkMac = async (mac: Mac, contents: Buffer, passphrase: string, meter: Meter): Promise<void> => {
  const keyOf = macKeyBy(mac, meter)
  for (const secret of secretsOf(passphrase)) {
    const key = await keyOf(secret)
    if (createHmac(mac.hash, key).update(contents).digest().equals(mac.digest)) {
      return
    }
  }
  throw new Pkcs12Problem("WrongPassphrase", "has a MAC that does not fit the passphrase given")
}

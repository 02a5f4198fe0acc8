/**
 * Reads the extensions of a certificate that Node doesn't: path length, name constraints, where its lists are (RFC
 * 5280); and its purposes, which Deno doesn't.
 */
import type { X509Certificate } from "node:crypto"

/** One name or part of a name: its context tag of GeneralName, and its content. */
interface GeneralName {
  readonly tag: number
  readonly content: Buffer
}

/** The extensions that decide whether a certificate may be part of a path. */
export interface Extensions {
  /** Whether it says if it is a CA: certificates of version 1 can't. */
  readonly hasBasicConstraints: boolean
  /** How many intermediates may follow below it. */
  readonly pathLength: number
  readonly permitted: ReadonlyArray<GeneralName>
  readonly excluded: ReadonlyArray<GeneralName>
  /** The subject and its alternative names. */
  readonly names: ReadonlyArray<GeneralName>
  /** The content of the subject. */
  readonly subject: Buffer
  /** Whether its key may sign revocation lists; without a key usage it may do everything. */
  readonly maySignLists: boolean
  /** Its extended key usages, as the DER of each OID in hex; undefined without them, which allows all. */
  readonly purposes: ReadonlyArray<string> | undefined
  /** Where its issuer publishes lists for it, for all reasons. A point without names means everywhere. */
  readonly distributionPoints: ReadonlyArray<ReadonlyArray<GeneralName> | undefined>
}

interface Element {
  readonly tag: number
  readonly content: Buffer
}

/** The elements of DER, without looking into them. Throws if the bytes are no DER. */
const elements = (der: Buffer): ReadonlyArray<Element> => {
  const found: Array<Element> = []
  for (let at = 0; at < der.length; ) {
    const tag = der.readUInt8(at)
    const short = der.readUInt8(at + 1)
    const size = short > 0x80 ? short - 0x80 : 0
    const length = size === 0 ? short : der.readUIntBE(at + 2, size)
    const begin = at + 2 + size
    if (short === 0x80 || length > der.length - begin) {
      throw new Error("no DER")
    }
    found.push({ tag, content: der.subarray(begin, begin + length) })
    at = begin + length
  }
  return found
}

const only = (der: Buffer): Buffer => elements(der)[0]?.content ?? Buffer.alloc(0)

const directoryName = 0xa4
const dnsName = 0x82
const uri = 0x86
const ipAddress = 0x87

/** id-ce, the arc of the extensions of RFC 5280. */
const arc = Buffer.from([0x55, 0x1d])
const idKeyUsage = 15
const idSubjectAltName = 17
const idBasicConstraints = 19
const idNameConstraints = 30
const idDistributionPoints = 31
const idExtendedKeyUsage = 37

const subtrees = (constraints: Buffer, tag: number): ReadonlyArray<GeneralName> =>
  elements(constraints)
    .filter((each) => each.tag === tag)
    .flatMap(({ content }) => elements(content))
    .flatMap(({ content }) => elements(content).slice(0, 1))

/** The names of a DistributionPointName; none if it is relative to its issuer. */
export const fullNamesOf = (name: Buffer): ReadonlyArray<GeneralName> =>
  elements(name).flatMap(({ content, tag }) => (tag === 0xa0 ? elements(content) : []))

const distributionPointsOf = (points: Buffer): Extensions["distributionPoints"] =>
  elements(points).flatMap(({ content }) => {
    const [name, ...others] = elements(content)
    return name?.tag === 0xa0 && others.length === 0
      ? [fullNamesOf(name.content)]
      : name === undefined
        ? [undefined]
        : []
  })

/** The bit of cRLSign (RFC 5280, section 4.2.1.3), after the count of unused bits. */
const signsLists = (usage: Buffer): boolean => ((usage[1] ?? 0) & 0x02) !== 0

const parse = (der: Buffer): Extensions => {
  const tbs = elements(only(only(der)))
  const fields = tbs[0]?.tag === 0xa0 ? tbs.slice(1) : tbs
  const subject = fields[4]?.content ?? Buffer.alloc(0)
  const extensions = new Map<number, Buffer>()
  for (const { content } of elements(only(tbs.find(({ tag }) => tag === 0xa3)?.content ?? Buffer.alloc(0)))) {
    const [id, ...rest] = elements(content)
    const value = rest.at(-1)
    if (id?.content.length === 3 && id.content.subarray(0, 2).equals(arc) && value !== undefined) {
      extensions.set(id.content.readUInt8(2), only(value.content))
    }
  }
  const basic = extensions.get(idBasicConstraints)
  const length = elements(basic ?? Buffer.alloc(0)).find(({ tag }) => tag === 0x02)?.content
  const constraints = extensions.get(idNameConstraints) ?? Buffer.alloc(0)
  const keyUsage = extensions.get(idKeyUsage)
  const purposes = extensions.get(idExtendedKeyUsage)
  return {
    purposes: purposes === undefined ? undefined : elements(purposes).map(({ content }) => content.toString("hex")),
    subject,
    maySignLists: keyUsage === undefined || signsLists(keyUsage),
    distributionPoints: distributionPointsOf(extensions.get(idDistributionPoints) ?? Buffer.alloc(0)),
    hasBasicConstraints: basic !== undefined,
    pathLength:
      length === undefined
        ? Number.POSITIVE_INFINITY
        : length.length === 1
          ? length.readInt8(0)
          : Number.POSITIVE_INFINITY,
    permitted: subtrees(constraints, 0xa0),
    excluded: subtrees(constraints, 0xa1),
    names: [
      ...(subject.length === 0 ? [] : [{ tag: directoryName, content: subject }]),
      ...elements(extensions.get(idSubjectAltName) ?? Buffer.alloc(0)).map((name) =>
        name.tag === directoryName ? { ...name, content: only(name.content) } : name
      )
    ]
  }
}

const known = new WeakMap<X509Certificate, Extensions>()

/** The extensions of a certificate, read once. Throws if they can't be read. */
export const of = (certificate: X509Certificate): Extensions => {
  const found = known.get(certificate) ?? parse(certificate.raw)
  known.set(certificate, found)
  return found
}

/** Whether lists about the certificate are published under one of the names. */
export const isPublishedAt = ({ distributionPoints }: Extensions, names: ReadonlyArray<GeneralName>): boolean =>
  distributionPoints.some(
    (point) =>
      point === undefined ||
      point.some(({ content, tag }) => names.some((name) => name.tag === tag && name.content.equals(content)))
  )

/** Decoders for text in names, which has several encodings; other values are compared byte by byte. */
const decoders = new Map<number, (content: Buffer) => string>([
  ...[0x0c, 0x13, 0x14, 0x16, 0x1a].map((tag) => [tag, (content: Buffer) => content.toString("utf8")] as const),
  [0x1e, (content) => (content.length % 2 === 0 ? Buffer.from(content).swap16().toString("utf16le") : "")]
])

/** A name in a form that is the same for equal names: case and spaces don't count (RFC 5280, section 7.1). */
export const comparableName = (name: Buffer): string =>
  elements(name)
    .map(({ content }) =>
      elements(content)
        .map(({ content }) => {
          const [oid, value] = elements(content)
          const text = value === undefined ? undefined : decoders.get(value.tag)?.(value.content)
          return [
            oid?.content.toString("hex"),
            text?.trim().replaceAll(/\s+/g, " ").toLowerCase() ?? [value?.tag, value?.content.toString("hex")]
          ]
        })
        .map((attribute) => JSON.stringify(attribute))
        .sort()
    )
    .map((rdn) => JSON.stringify(rdn))
    .join()

const text = (content: Buffer) => content.toString("latin1").toLowerCase()

/** The host in a URI. */
export const hostOf = (uri: string): string | undefined =>
  /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?([^/?#:@]+)/i.exec(uri)?.[1]?.toLowerCase()

const isIn = (name: GeneralName, base: GeneralName): boolean => {
  const wanted = text(base.content)
  switch (base.tag) {
    case dnsName: {
      const host = text(name.content)
      return wanted === "" || host === wanted || host.endsWith(wanted.startsWith(".") ? wanted : `.${wanted}`)
    }
    case uri: {
      const host = hostOf(text(name.content)) ?? ""
      return wanted.startsWith(".") ? host.endsWith(wanted) : host === wanted
    }
    case ipAddress: {
      const size = base.content.length / 2
      const mask = base.content.subarray(size)
      return (
        name.content.length === size &&
        name.content.every((byte, index) => ((byte ^ (base.content[index] ?? 0)) & (mask[index] ?? 0)) === 0)
      )
    }
    case directoryName: {
      // Byte by byte: in another encoding the same name is another one here.
      const rdns = only(base.content)
      return name.content.subarray(0, rdns.length).equals(rdns)
    }
    default:
      return false
  }
}

/** Excluded names that can be compared; directory names can't, because they have many encodings. */
const comparable = [dnsName, uri, ipAddress]

/**
 * Whether a CA may certify all the names of a certificate (RFC 5280, section 4.2.1.10). Not if they can't be compared.
 */
export const mayName = ({ excluded, permitted }: Extensions, { names }: Extensions): boolean =>
  names.every((name) => {
    const among = (bases: ReadonlyArray<GeneralName>) => bases.filter(({ tag }) => tag === name.tag)
    const [allowed, denied] = [among(permitted), among(excluded)]
    return (
      (allowed.length === 0 || allowed.some((base) => isIn(name, base))) &&
      denied.every((base) => comparable.includes(base.tag) && !isIn(name, base))
    )
  })

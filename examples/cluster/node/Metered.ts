import { type Method, Service } from "effect-transport"

interface Meter {
  readonly sent: (bytes: number) => void
  readonly received: (bytes: number) => void
}

const encoding = <I, O>(codec: Method.Codec<I, O>, count: (bytes: number) => void): Method.Codec<I, O> => ({
  encode: (value) => {
    const bytes = codec.encode(value)
    count(bytes.length)
    return bytes
  },
  decode: codec.decode
})

const decoding = <I, O>(codec: Method.Codec<I, O>, count: (bytes: number) => void): Method.Codec<I, O> => ({
  encode: codec.encode,
  decode: (bytes) => {
    count(bytes.length)
    return codec.decode(bytes)
  }
})

/** The contract as a client needs it, with codecs that count the bytes of requests and responses. */
export const contract = <S extends Service.Source>(source: S, meter: Meter): S => {
  const { methods, name } = Service.from(source)
  const metered = Object.entries(methods).map(([key, method]): [string, Method.Any] => [
    key,
    { ...method, input: encoding(method.input, meter.sent), output: decoding(method.output, meter.received) }
  ])
  // The methods are those of the source, but `Service.from` does not say so in its type.
  return Service.make(name, Object.fromEntries(metered)) as Service.Source as S
}

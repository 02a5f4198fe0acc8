/** Descriptors as `.proto` has them. */
import type {
  DescEnum,
  DescExtension,
  DescField,
  DescFile,
  DescMessage,
  DescMethod,
  DescOneof,
  DescService,
  FileRegistry
} from "@bufbuild/protobuf"
import { ScalarType } from "@bufbuild/protobuf"
import { FieldDescriptorProto_Label as Label } from "@bufbuild/protobuf/wkt"

/** What can be described by its name. */
export type Described =
  | { readonly kind: "service"; readonly file: DescFile; readonly desc: DescService }
  | { readonly kind: "method"; readonly file: DescFile; readonly desc: DescMethod }
  | { readonly kind: "message"; readonly file: DescFile; readonly desc: DescMessage }
  | { readonly kind: "enum"; readonly file: DescFile; readonly desc: DescEnum }
  | { readonly kind: "extension"; readonly file: DescFile; readonly desc: DescExtension }

/** What a full name stands for. */
export const find = (registry: FileRegistry, name: string): Described | undefined => {
  const desc = registry.get(name)
  switch (desc?.kind) {
    case "service":
      return { kind: "service", file: desc.file, desc }
    case "message":
      return { kind: "message", file: desc.file, desc }
    case "enum":
      return { kind: "enum", file: desc.file, desc }
    case "extension":
      return { kind: "extension", file: desc.file, desc }
    default: {
      const dot = name.lastIndexOf(".")
      const service = dot < 0 ? undefined : registry.getService(name.slice(0, dot))
      const method = service?.methods.find((each) => each.name === name.slice(dot + 1))
      return service === undefined || method === undefined
        ? undefined
        : { kind: "method", file: service.file, desc: method }
    }
  }
}

const indent = (lines: ReadonlyArray<string>) => lines.map((line) => `  ${line}`)

const block = (head: string, lines: ReadonlyArray<string>) =>
  lines.length === 0 ? [`${head} {}`] : [`${head} {`, ...indent(lines), "}"]

const scalarName = (type: ScalarType) => ScalarType[type].toLowerCase()

const typeName = (field: DescField | DescExtension): string => {
  switch (field.fieldKind) {
    case "scalar":
      return scalarName(field.scalar)
    case "enum":
      return field.enum.typeName
    case "message":
      return field.message.typeName
    case "list":
      return field.listKind === "scalar"
        ? scalarName(field.scalar)
        : field.listKind === "enum"
          ? field.enum.typeName
          : field.message.typeName
    case "map": {
      const value =
        field.mapKind === "scalar"
          ? scalarName(field.scalar)
          : field.mapKind === "enum"
            ? field.enum.typeName
            : field.message.typeName
      return `map<${scalarName(field.mapKey)}, ${value}>`
    }
  }
}

const labelOf = (field: DescField | DescExtension): string =>
  field.fieldKind === "map"
    ? ""
    : field.fieldKind === "list"
      ? "repeated "
      : field.proto.label === Label.REQUIRED
        ? "required "
        : field.proto.proto3Optional
          ? "optional "
          : ""

const fieldLine = (field: DescField | DescExtension): string => {
  const options = [
    ...(field.kind === "field" && field.jsonName !== camelCase(field.name)
      ? [`json_name = ${JSON.stringify(field.jsonName)}`]
      : []),
    ...(field.proto.defaultValue === "" ? [] : [`default = ${field.proto.defaultValue}`]),
    ...(field.deprecated ? ["deprecated = true"] : [])
  ]
  const name = field.kind === "field" ? field.name : field.proto.name
  return `${labelOf(field)}${typeName(field)} ${name} = ${field.number}${options.length === 0 ? "" : ` [${options.join(", ")}]`};`
}

const camelCase = (name: string) =>
  name.replace(/_+([^_])?/g, (_, letter: string | undefined) => (letter ?? "").toUpperCase())

const member = (each: DescField | DescOneof): ReadonlyArray<string> =>
  each.kind === "oneof" ? block(`oneof ${each.name}`, each.fields.map(fieldLine)) : [fieldLine(each)]

const messageLines = ({ members, name, nestedEnums, nestedMessages }: DescMessage): ReadonlyArray<string> =>
  block(`message ${name}`, [
    ...nestedEnums.flatMap(enumLines),
    ...nestedMessages.flatMap(messageLines),
    ...members.flatMap(member)
  ])

const enumLines = ({ name, values }: DescEnum): ReadonlyArray<string> =>
  block(
    `enum ${name}`,
    values.map((value) => `${value.name} = ${value.number};`)
  )

const methodLine = ({ input, methodKind, name, output }: DescMethod): string => {
  const isClient = methodKind === "client_streaming" || methodKind === "bidi_streaming"
  const isServer = methodKind === "server_streaming" || methodKind === "bidi_streaming"
  const type = (isStream: boolean, { typeName }: DescMessage) => `(${isStream ? "stream " : ""}${typeName})`
  return `rpc ${name}${type(isClient, input)} returns ${type(isServer, output)};`
}

/** The definition, on as many lines as it takes. */
export const text = ({ desc }: Described): string => {
  switch (desc.kind) {
    case "service":
      return block(`service ${desc.name}`, desc.methods.map(methodLine)).join("\n")
    case "rpc":
      return methodLine(desc)
    case "message":
      return messageLines(desc).join("\n")
    case "enum":
      return enumLines(desc).join("\n")
    case "extension":
      return block(`extend ${desc.extendee.typeName}`, [fieldLine(desc)]).join("\n")
  }
}

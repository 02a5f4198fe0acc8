/** What protobufjs has parsed, as the descriptors that a compiler would have written. */
import { create } from "@bufbuild/protobuf"
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  type EnumDescriptorProto,
  EnumDescriptorProtoSchema,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Type as Kind,
  FieldDescriptorProto_Label as Label,
  MethodOptions_IdempotencyLevel as Level,
  type ServiceDescriptorProto,
  ServiceDescriptorProtoSchema
} from "@bufbuild/protobuf/wkt"
import Protobuf from "protobufjs"

/** A file without what it declares. */
export interface Head {
  readonly name: string
  readonly package: string
  readonly syntax: string
  readonly dependency: ReadonlyArray<string>
}

const scalars: { readonly [name: string]: Kind } = {
  double: Kind.DOUBLE,
  float: Kind.FLOAT,
  int64: Kind.INT64,
  uint64: Kind.UINT64,
  int32: Kind.INT32,
  fixed64: Kind.FIXED64,
  fixed32: Kind.FIXED32,
  bool: Kind.BOOL,
  string: Kind.STRING,
  bytes: Kind.BYTES,
  uint32: Kind.UINT32,
  sfixed32: Kind.SFIXED32,
  sfixed64: Kind.SFIXED64,
  sint32: Kind.SINT32,
  sint64: Kind.SINT64
}

const typeOf = (field: Protobuf.FieldBase & { readonly delimited?: boolean }) => {
  const { name, resolvedType, type } = field
  if (resolvedType instanceof Protobuf.Enum) {
    return { type: Kind.ENUM, typeName: resolvedType.fullName }
  }
  if (resolvedType instanceof Protobuf.Type) {
    return { type: field.delimited === true ? Kind.GROUP : Kind.MESSAGE, typeName: resolvedType.fullName }
  }
  const scalar = scalars[type]
  if (scalar === undefined) {
    throw new Error(`the type of ${name} is unknown: ${type}`)
  }
  return { type: scalar }
}

const option = (object: Protobuf.ReflectionObject, name: string): unknown =>
  (object.options as { readonly [name: string]: unknown } | undefined)?.[name]

/** How protoc names the type of a map's entries. */
const entryName = (name: string) =>
  `${name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase()).replaceAll("_", "")}Entry`

/** How protoc names a field in JSON where nothing else is said. */
const camelCase = (name: string) =>
  name.replace(/_+([^_])?/g, (_, letter: string | undefined) => (letter ?? "").toUpperCase())

const fieldOf = (field: Protobuf.Field, oneofs: ReadonlyArray<string>): FieldDescriptorProto => {
  const jsonName = option(field, "json_name")
  const packed = option(field, "packed")
  const defaultValue = option(field, "default")
  const oneof = field.partOf === null || field.partOf === undefined ? -1 : oneofs.indexOf(field.partOf.name)
  const isMap = field instanceof Protobuf.MapField
  return create(FieldDescriptorProtoSchema, {
    name: field.name,
    number: field.id,
    label: isMap || field.repeated ? Label.REPEATED : field.required ? Label.REQUIRED : Label.OPTIONAL,
    jsonName: typeof jsonName === "string" ? jsonName : camelCase(field.name),
    ...(isMap
      ? { type: Kind.MESSAGE, typeName: `${field.parent?.fullName ?? ""}.${entryName(field.name)}` }
      : typeOf(field)),
    ...(oneof < 0 ? {} : { oneofIndex: oneof }),
    ...(option(field, "proto3_optional") === true ? { proto3Optional: true } : {}),
    ...(typeof packed === "boolean" ? { options: { packed } } : {}),
    ...(defaultValue === undefined ? {} : { defaultValue: String(defaultValue) })
  })
}

const entryOf = (field: Protobuf.MapField): DescriptorProto =>
  create(DescriptorProtoSchema, {
    name: entryName(field.name),
    field: [
      { name: "key", number: 1, label: Label.OPTIONAL, jsonName: "key", type: scalars[field.keyType] ?? Kind.STRING },
      { name: "value", number: 2, label: Label.OPTIONAL, jsonName: "value", ...typeOf(field) }
    ],
    options: { mapEntry: true }
  })

const enumOf = (object: Protobuf.Enum): EnumDescriptorProto =>
  create(EnumDescriptorProtoSchema, {
    name: object.name,
    value: Object.entries(object.values).map(([name, number]) => ({ name, number })),
    ...(option(object, "allow_alias") === true ? { options: { allowAlias: true } } : {})
  })

const nestedOf = (namespace: Protobuf.NamespaceBase, from: string) =>
  namespace.nestedArray.filter(({ filename }) => filename === from)

const messageOf = (type: Protobuf.Type, from: string): DescriptorProto => {
  const nested = nestedOf(type, from)
  // Those of `optional` come last.
  const oneofs = type.oneofsArray
    .map(({ fieldsArray, name }) => ({
      name,
      synthetic: fieldsArray.some((each) => option(each, "proto3_optional") === true)
    }))
    .sort((a, b) => Number(a.synthetic) - Number(b.synthetic))
    .map(({ name }) => name)
  // Extensions of a type are among its fields, and are declared elsewhere.
  const fields = type.fieldsArray.filter(
    ({ declaringField }) => declaringField === null || declaringField === undefined
  )
  return create(DescriptorProtoSchema, {
    name: type.name,
    field: fields.map((each) => fieldOf(each, oneofs)),
    oneofDecl: oneofs.map((name) => ({ name })),
    nestedType: [
      ...fields.flatMap((each) => (each instanceof Protobuf.MapField ? [entryOf(each)] : [])),
      ...nested.flatMap((each) => (each instanceof Protobuf.Type ? [messageOf(each, from)] : []))
    ],
    enumType: nested.flatMap((each) => (each instanceof Protobuf.Enum ? [enumOf(each)] : [])),
    extension: nested.flatMap((each) => (each instanceof Protobuf.Field ? [extensionOf(each)] : [])),
    extensionRange: (type.extensions ?? []).flatMap((each) => {
      const [start, end] = Array.isArray(each) ? (each as ReadonlyArray<number>) : []
      return start === undefined || end === undefined ? [] : [{ start, end: Math.min(end, 0x1fffffff) + 1 }]
    })
  })
}

const extensionOf = (field: Protobuf.Field): FieldDescriptorProto =>
  create(FieldDescriptorProtoSchema, {
    ...fieldOf(field, []),
    extendee: field.extensionField?.parent?.fullName ?? `.${field.extend}`
  })

const serviceOf = (service: Protobuf.Service): ServiceDescriptorProto =>
  create(ServiceDescriptorProtoSchema, {
    name: service.name,
    method: service.methodsArray.map((method) => {
      const level = option(method, "idempotency_level")
      return {
        name: method.name,
        inputType: method.resolvedRequestType?.fullName ?? "",
        outputType: method.resolvedResponseType?.fullName ?? "",
        clientStreaming: method.requestStream === true,
        serverStreaming: method.responseStream === true,
        ...(level === "NO_SIDE_EFFECTS" || level === "IDEMPOTENT"
          ? { options: { idempotencyLevel: Level[level] } }
          : {})
      }
    })
  })

const namespaceOf = (root: Protobuf.Root, name: string): Protobuf.NamespaceBase => {
  const found = name === "" ? root : root.lookup(name)
  return found instanceof Protobuf.Namespace ? found : root
}

/** What a file declares, of a root whose types are resolved. */
export const file = (root: Protobuf.Root, head: Head): FileDescriptorProto => {
  const nested = nestedOf(namespaceOf(root, head.package), head.name)
  return create(FileDescriptorProtoSchema, {
    name: head.name,
    package: head.package,
    dependency: [...head.dependency],
    syntax: head.syntax === "proto2" ? "" : head.syntax,
    messageType: nested.flatMap((each) => (each instanceof Protobuf.Type ? [messageOf(each, head.name)] : [])),
    enumType: nested.flatMap((each) => (each instanceof Protobuf.Enum ? [enumOf(each)] : [])),
    service: nested.flatMap((each) => (each instanceof Protobuf.Service ? [serviceOf(each)] : [])),
    extension: nested.flatMap((each) => (each instanceof Protobuf.Field ? [extensionOf(each)] : []))
  })
}

/** Adds names of what protobuf itself comes with, so that references to it resolve. Its descriptors are known already. */
export const addWellKnown = (
  root: Protobuf.Root,
  files: ReadonlyMap<string, FileDescriptorProto>,
  names: ReadonlyArray<string>
): void => {
  const seen = new Set<string>()
  const add = (name: string): void => {
    const found = files.get(name)
    if (found === undefined || seen.has(name)) {
      return
    }
    seen.add(name)
    found.dependency.forEach(add)
    const namespace = root.define(found.package)
    const addTypes = (
      to: Protobuf.NamespaceBase,
      types: ReadonlyArray<DescriptorProto>,
      enums: ReadonlyArray<EnumDescriptorProto>
    ) => {
      for (const each of enums) {
        if (to.get(each.name) === null) {
          to.add(new Protobuf.Enum(each.name, Object.fromEntries(each.value.map(({ name, number }) => [name, number]))))
        }
      }
      for (const each of types) {
        if (to.get(each.name) === null) {
          const type = new Protobuf.Type(each.name)
          to.add(type)
          addTypes(type, each.nestedType, each.enumType)
        }
      }
    }
    addTypes(namespace, found.messageType, found.enumType)
  }
  names.forEach(add)
}

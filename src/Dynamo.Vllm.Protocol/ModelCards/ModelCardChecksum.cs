using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Blake3;

namespace Dynamo.Vllm.Protocol.ModelCards;

/// <summary>The checksum by which frontends group workers. It is never
/// published: two workers share traffic only if theirs are equal.</summary>
/// <remarks>
/// llm-registration.md, 3, whose step numbers the code carries. Takes the JSON form of a card,
/// so that any worker's published card can be checked. Golden file: tests/golden/llm/mdcsum.json.
/// </remarks>
public static class ModelCardChecksum
{
    private static readonly string[] FileSlots = ["model_info", "tokenizer", "prompt_formatter", "chat_template_file", "gen_config"];

    /// <summary>64 lower-case hexadecimal digits.</summary>
    public static string Compute(JsonObject card) => Hasher.Hash(Preimage(card)).ToString();

    /// <summary>The bytes that are hashed.</summary>
    public static byte[] Preimage(JsonObject card)
    {
        var bytes = new ArrayBufferWriter<byte>();
        WriteText(bytes, card["display_name"]!.GetValue<string>()); // 1
        WriteText(bytes, card["source_path"]?.GetValue<string>() ?? ""); // 2
        foreach (var slot in FileSlots)
        {
            WriteText(bytes, ChecksumOf(card[slot]) ?? ""); // 3
        }

        WriteExtraFiles(bytes, card["extra_files"] as JsonArray); // 4; step 5 never applies to this engine
        var runtime = card["runtime_config"] as JsonObject;
        WriteNumber(
            bytes,
            Number(runtime?["context_length"]) ?? Number(card["architectural_max_context_length"]) ?? Number(card["context_length"]) ?? 0
        ); // 6
        WriteNumber(bytes, Number(card["kv_cache_block_size"]) ?? 0); // 7
        WriteByte(bytes, RoleCode(card["worker_type"]?.GetValue<string>())); // 8
        WriteNeeds(bytes, card["needs"] as JsonArray); // 9
        if (card["router_config"] is { } router)
        {
            bytes.Write(Hasher.Hash(Encoding.UTF8.GetBytes(router.ToJsonString())).AsSpan()); // 10; step 11 never applies
        }

        WriteAliases(bytes, card["aliases"] as JsonArray); // 12
        WriteFlag(bytes, runtime, "vllm_enable_tower_connector_lora"); // 13
        WriteFlag(bytes, runtime, "vllm_inference_v1_generate"); // 14; step 15 is for video models
        return bytes.WrittenSpan.ToArray();
    }

    private static string? ChecksumOf(JsonNode? slot)
    {
        if (slot is not JsonObject wrapper || wrapper.FirstOrDefault().Value is not JsonObject file)
        {
            return null;
        }

        return (file["checksum"] ?? file["file"]?["checksum"])?.GetValue<string>();
    }

    private static void WriteExtraFiles(IBufferWriter<byte> bytes, JsonArray? files)
    {
        if (files is null)
        {
            return;
        }

        var pairs = files
            .Select(file => (Path: file!["path"]!.GetValue<string>(), Checksum: file["checksum"]!.GetValue<string>()))
            .Select(file => (Name: file.Path[(file.Path.LastIndexOf('/') + 1)..], Hex: file.Checksum["blake3:".Length..]))
            .OrderBy(pair => pair.Name, StringComparer.Ordinal)
            .ThenBy(pair => pair.Hex, StringComparer.Ordinal);
        foreach (var (name, hex) in pairs)
        {
            WriteText(bytes, name);
            WriteByte(bytes, 0);
            WriteText(bytes, hex);
        }
    }

    private static void WriteNeeds(IBufferWriter<byte> bytes, JsonArray? needs)
    {
        WriteNumber(bytes, (uint)(needs?.Count ?? 0));
        foreach (var alternative in needs ?? [])
        {
            var roles = (JsonArray)alternative!;
            WriteNumber(bytes, (uint)roles.Count);
            foreach (var role in roles)
            {
                WriteByte(bytes, RoleCode(role!.GetValue<string>()));
            }
        }
    }

    private static void WriteAliases(IBufferWriter<byte> bytes, JsonArray? aliases)
    {
        if (aliases is not { Count: > 0 })
        {
            return;
        }

        WriteNumber(bytes, (uint)aliases.Count);
        foreach (var alias in aliases)
        {
            var text = Encoding.UTF8.GetBytes(alias!.GetValue<string>());
            WriteNumber(bytes, (uint)text.Length);
            bytes.Write(text);
        }
    }

    private static void WriteFlag(IBufferWriter<byte> bytes, JsonObject? runtime, string key)
    {
        if (runtime?["runtime_data"]?[key] is JsonValue value && value.TryGetValue<bool>(out var isSet) && isSet)
        {
            WriteText(bytes, $"\0{key}\0true");
        }
    }

    private static byte RoleCode(string? role) =>
        role switch
        {
            "prefill" => 1,
            "decode" => 2,
            "encode" => 3,
            "aggregated" => 4,
            _ => 0,
        };

    private static uint? Number(JsonNode? node) =>
        node?.GetValueKind() == System.Text.Json.JsonValueKind.Number
            ? uint.Parse(node.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture)
            : null;

    private static void WriteText(IBufferWriter<byte> bytes, string text) => bytes.Write(Encoding.UTF8.GetBytes(text));

    private static void WriteByte(IBufferWriter<byte> bytes, byte value) => bytes.Write([value]);

    private static void WriteNumber(IBufferWriter<byte> bytes, uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(bytes.GetSpan(4), value);
        bytes.Advance(4);
    }
}

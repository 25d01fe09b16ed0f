using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>The answer to a call that loads, unloads or lists adapters (behaviour.md, 16).</summary>
public sealed record AdapterReply
{
    private AdapterReply(bool isSuccess) => IsSuccess = isSuccess;

    public bool IsSuccess { get; }

    public string? Message { get; private init; }

    public string? Name { get; private init; }

    public int? Id { get; private init; }

    public bool? IsHotSwap { get; private init; }

    public IReadOnlyList<LoadedAdapter>? Adapters { get; private init; }

    public static AdapterReply Done(string message, LoadedAdapter adapter, bool? isHotSwap = null) =>
        new(true)
        {
            Message = message,
            Name = adapter.Name,
            Id = adapter.Id,
            IsHotSwap = isHotSwap,
        };

    public static AdapterReply Failed(string message, string? name = null, int? id = null) =>
        new(false)
        {
            Message = message,
            Name = name,
            Id = id,
        };

    public static AdapterReply List(IReadOnlyList<LoadedAdapter> adapters) => new(true) { Adapters = adapters };

    /// <param name="withHotSwap">Not in answers over HTTP.</param>
    public JsonObject ToJson(bool withHotSwap)
    {
        var json = new JsonObject { ["status"] = IsSuccess ? "success" : "error" };
        Set(json, "message", Message);
        Set(json, "lora_name", Name);
        Set(json, "lora_id", Id);
        if (Adapters is not null)
        {
            json["loras"] = new JsonObject(Adapters.Select(adapter => KeyValuePair.Create(adapter.Name, (JsonNode?)adapter.Id)));
            json["count"] = Adapters.Count;
        }

        if (withHotSwap)
        {
            Set(json, "hot_swap", IsHotSwap);
        }

        return json;
    }

    private static void Set(JsonObject json, string key, JsonNode? value)
    {
        if (value is not null)
        {
            json[key] = value;
        }
    }
}

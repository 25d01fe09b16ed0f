using System.Text.Json;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Whether a request's <c>kv_hint</c> has the form that the engine process, which decodes strictly, survives.</summary>
/// <remarks>The shape: <c>{"protocol_version","message_id","actions":[{"action_id","action_type","action_version","payload":{}}]}</c>.
/// Texts are the reference's, where it has one; a member that is missing is a fault there.</remarks>
internal static class KvHintGuard
{
    /// <summary>A hint is a few places to fetch blocks from.</summary>
    private const int ActionsMax = 1024;

    private static readonly string[] ActionMembers = ["action_id", "action_type", "action_version"];

    /// <exception cref="RequestFailedException">Says what is wrong.</exception>
    public static void Check(ReadOnlyMemory<byte> json)
    {
        using var document = JsonDocument.Parse(json);
        var hint = document.RootElement;
        Refuse(hint.ValueKind != JsonValueKind.Object, "kv_hint must be an object");
        var hasActions = hint.TryGetProperty("actions", out var actions) && actions.ValueKind == JsonValueKind.Array;
        Refuse(!hasActions, "kv_hint.actions must be a list");
        Refuse(actions.GetArrayLength() > ActionsMax, $"kv_hint.actions has {actions.GetArrayLength()} entries, limit {ActionsMax}");
        foreach (var action in actions.EnumerateArray())
        {
            Refuse(action.ValueKind != JsonValueKind.Object, "each kv_hint action must be an object");
            var hasPayload = action.TryGetProperty("payload", out var payload) && payload.ValueKind == JsonValueKind.Object;
            Refuse(!hasPayload, "kv_hint action payload must be an object");
            foreach (var member in ActionMembers)
            {
                Refuse(!action.TryGetProperty(member, out _), $"kv_hint action has no {member}");
            }
        }

        foreach (var member in (string[])["protocol_version", "message_id"])
        {
            Refuse(!hint.TryGetProperty(member, out _), $"kv_hint has no {member}");
        }
    }

    private static void Refuse(bool isWrong, string problem)
    {
        if (isWrong)
        {
            throw new RequestFailedException(DynamoError.InvalidArgumentPrivate($"ValueError: {problem}"));
        }
    }
}

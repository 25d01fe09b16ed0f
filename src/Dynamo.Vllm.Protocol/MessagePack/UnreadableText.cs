using System.Globalization;
using System.Text.Json;

namespace Dynamo.Vllm.Protocol.MessagePack;

/// <summary>Finds the text in a JSON value that has no Unicode form: bytes that are not UTF-8, or half of a surrogate pair.</summary>
public static class UnreadableText
{
    /// <summary>Path of the first such text (<c>stop_conditions.stop[1]</c>),
    /// or null. The depth is that of a parsed document, so bounded.</summary>
    public static string? Find(JsonElement element) => Find(element, "");

    private static string? Find(JsonElement element, string path)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    if (NameOf(property) is not { } name)
                    {
                        return path.Length == 0 ? "a key of the body" : $"a key of {path}";
                    }

                    if (Find(property.Value, path.Length == 0 ? name : $"{path}.{name}") is { } found)
                    {
                        return found;
                    }
                }

                return null;
            case JsonValueKind.Array:
                for (var i = 0; i < element.GetArrayLength(); i++)
                {
                    if (Find(element[i], string.Create(CultureInfo.InvariantCulture, $"{path}[{i}]")) is { } found)
                    {
                        return found;
                    }
                }

                return null;
            case JsonValueKind.String:
                return IsReadable(element) ? null : path;
            default:
                return null;
        }
    }

    private static string? NameOf(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    private static bool IsReadable(JsonElement text)
    {
        try
        {
            text.GetString();
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }
}

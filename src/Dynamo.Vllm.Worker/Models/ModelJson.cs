using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>JSON as Python writes and reads it: with <c>NaN</c>, <c>Infinity</c>
/// and <c>-Infinity</c>, which models on the hub do contain.</summary>
internal static class ModelJson
{
    private static readonly string[] NotNumbers = ["-Infinity", "Infinity", "NaN"];

    /// <exception cref="ConfigurationException">It cannot be read, or is no JSON.</exception>
    public static JsonDocument Parse(string path)
    {
        try
        {
            return JsonDocument.Parse(WithoutNotNumbers(File.ReadAllText(path)));
        }
        catch (Exception exception) when (exception is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"cannot read model file {path}: {exception.Message}");
        }
    }

    /// <summary>Outside of strings they become null: nothing that is looked for here is one of them.</summary>
    internal static string WithoutNotNumbers(string text)
    {
        var result = new StringBuilder(text.Length);
        var isInString = false;
        for (var i = 0; i < text.Length; i++)
        {
            var name = isInString ? null : Array.Find(NotNumbers, name => string.CompareOrdinal(text, i, name, 0, name.Length) == 0);
            if (name is not null)
            {
                result.Append("null");
                i += name.Length - 1;
                continue;
            }

            result.Append(text[i]);
            if (isInString && text[i] == '\\' && i + 1 < text.Length)
            {
                result.Append(text[++i]);
            }
            else if (text[i] == '"')
            {
                isInString = !isInString;
            }
        }

        return result.ToString();
    }
}

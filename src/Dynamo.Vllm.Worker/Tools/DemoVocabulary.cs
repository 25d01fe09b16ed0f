using System.Text;
using System.Text.Json;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>Text of the demo model's vocabulary. Enough to show words; real tokenization is the frontend's.</summary>
internal sealed class DemoVocabulary
{
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly Dictionary<int, string> _texts = [];
    private readonly int _longest;

    public DemoVocabulary(string tokenizerFile)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(tokenizerFile));
        foreach (var entry in document.RootElement.GetProperty("model").GetProperty("vocab").EnumerateObject())
        {
            // Byte-level vocabularies write the space as this letter.
            var text = entry.Name.Replace('\u0120', ' ').Replace('\u010a', ' ');
            _ids.TryAdd(text, entry.Value.GetInt32());
            _texts[entry.Value.GetInt32()] = text;
            _longest = Math.Max(_longest, text.Length);
        }
    }

    /// <summary>Longest match first; what has no entry is left out.</summary>
    public IReadOnlyList<int> Encode(string text)
    {
        var ids = new List<int>();
        for (var at = 0; at < text.Length; )
        {
            var length = Math.Min(_longest, text.Length - at);
            while (length > 0 && !_ids.ContainsKey(text.Substring(at, length)))
            {
                length--;
            }

            if (length > 0)
            {
                ids.Add(_ids[text.Substring(at, length)]);
            }

            at += Math.Max(1, length);
        }

        return ids;
    }

    public string Decode(IEnumerable<int> ids)
    {
        var text = new StringBuilder();
        foreach (var id in ids)
        {
            var piece = _texts.GetValueOrDefault(id, "");
            text.Append(piece.StartsWith('<') ? "" : piece);
        }

        return text.ToString();
    }
}

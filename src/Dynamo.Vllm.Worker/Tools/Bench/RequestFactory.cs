using System.Buffers;
using System.Text;
using System.Text.Json;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Bodies of the requests. The same number has the same body in every run with the same options.</summary>
internal sealed class RequestFactory
{
    /// <summary>Common ones: each is one token in most vocabularies.</summary>
    private static readonly string[] Words = (
        "the of and to in is you that it he was for on are as with his they I at be this have from or one had by word but not what all "
        + "were we when your can said there use an each which she do how their if will up other about out many then them these so some "
        + "her would make like him into time has look two more write go see number no way could people my than first water been call who "
        + "oil its now find long down day did get come made may part"
    ).Split(' ');

    private readonly BenchOptions _options;
    private readonly string _model;

    public RequestFactory(BenchOptions options, string model)
    {
        _options = options;
        _model = model;
    }

    /// <param name="number">Of the request.</param>
    public BenchRequest Create(int number)
    {
        // Any two numbers must differ in their prompts, or a prefix cache would answer; the prefix alone is for all.
        var random = new Random(HashCode(_options.Seed, number));
        var inputLength = Length(random, _options.InputLength);
        var outputLength = Length(random, _options.OutputLength);
        var body = new ArrayBufferWriter<byte>(256 + ((_options.PrefixLength + inputLength) * 6));
        using (var json = new Utf8JsonWriter(body))
        {
            json.WriteStartObject();
            json.WriteString("model", _model);
            if (_options.IsChat)
            {
                json.WriteStartArray("messages");
                json.WriteStartObject();
                json.WriteString("role", "user");
                json.WriteString("content", Text(random, inputLength));
                json.WriteEndObject();
                json.WriteEndArray();
            }
            else if (_options.Vocabulary is { } vocabulary)
            {
                json.WriteStartArray("prompt");
                var shared = new Random(_options.Seed);
                for (var i = 0; i < _options.PrefixLength + inputLength; i++)
                {
                    json.WriteNumberValue(vocabulary.Next(i < _options.PrefixLength ? shared : random));
                }

                json.WriteEndArray();
            }
            else
            {
                json.WriteString("prompt", Text(random, inputLength));
            }

            json.WriteNumber(_options.IsChat ? "max_completion_tokens" : "max_tokens", outputLength);
            json.WriteBoolean("stream", true);
            json.WriteStartObject("stream_options");
            json.WriteBoolean("include_usage", true);
            json.WriteEndObject();
            json.WriteBoolean("ignore_eos", true);
            foreach (var member in _options.ExtraBody)
            {
                json.WritePropertyName(member.Key);
                json.WriteRawValue(member.Value);
            }

            json.WriteEndObject();
        }

        return new BenchRequest(body.WrittenMemory, _options.PrefixLength + inputLength, outputLength);
    }

    private string Text(Random random, int length)
    {
        var text = new StringBuilder((_options.PrefixLength + length) * 5);
        var shared = new Random(_options.Seed);
        for (var i = 0; i < _options.PrefixLength + length; i++)
        {
            text.Append(i == 0 ? "" : " ").Append(Words[(i < _options.PrefixLength ? shared : random).Next(Words.Length)]);
        }

        return text.ToString();
    }

    /// <summary>Within the ratio around the mean, each length as often as any other.</summary>
    private int Length(Random random, int mean)
    {
        var least = Math.Max(1, (int)Math.Floor(mean * (1 - _options.RangeRatio)));
        return random.Next(least, Math.Max(least, (int)Math.Ceiling(mean * (1 + _options.RangeRatio))) + 1);
    }

    /// <summary>The same in every process, unlike <see cref="System.HashCode"/>.</summary>
    private static int HashCode(int seed, int number) => unchecked((int)(((uint)seed * 0x9E3779B1) ^ (((uint)number + 1) * 0x85EBCA77)));
}

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Reads <c>{"lora_name":text,"source":{"uri":text}}</c> with the reference's words for what is wrong, and where.</summary>
/// <remarks>
/// An object may be given as the list of its members in order, others are ignored, and so is what follows the body: serde's habits, which
/// scripts may have. Golden file: tests/golden/llm/lora.json.
/// </remarks>
internal ref struct LoadAdapterBody
{
    private const string Request = "struct LoadLoraRequest";
    private const string Source = "struct LoraSource";

    private readonly ReadOnlySpan<byte> _body;
    private Utf8JsonReader _reader;

    private LoadAdapterBody(ReadOnlySpan<byte> body)
    {
        _body = body;
        _reader = new Utf8JsonReader(body);
    }

    /// <exception cref="UnfitBodyException">It is no JSON, or another one.</exception>
    public static JsonObject Read(ReadOnlySpan<byte> body)
    {
        try
        {
            return body.IsEmpty ? throw NoJson("EOF while parsing a value at line 1 column 0") : new LoadAdapterBody(body).ReadRequest();
        }
        catch (JsonException exception)
        {
            throw NoJson(exception.Message, exception);
        }
        catch (InvalidOperationException exception)
        {
            // What the reader says of a string that is no Unicode, once it is asked for.
            throw NoJson(exception.Message, exception);
        }
    }

    private static UnfitBodyException NoJson(string problem, Exception? exception = null) =>
        new(StatusCodes.Status400BadRequest, $"Failed to parse the request body as JSON: {problem}", exception);

    private JsonObject ReadRequest()
    {
        string? name = null;
        string? uri = null;
        _reader.Read();
        if (_reader.TokenType == JsonTokenType.StartArray)
        {
            NextOf(Request, count: 0, of: 2);
            name = ReadText("[0]");
            NextOf(Request, count: 1, of: 2);
            uri = ReadSource("[1]");
            return Result(name, uri);
        }

        Expect(JsonTokenType.StartObject, Request, "");
        while (NextMember() is { } member)
        {
            if (member is not ("lora_name" or "source"))
            {
                _reader.Skip();
                continue;
            }

            RefuseSecond(member, "", member == "lora_name" ? name : uri);
            _reader.Read();
            _ = member == "lora_name" ? name = ReadText(member) : uri = ReadSource(member);
        }

        return Result(name ?? throw Missing("lora_name", ""), uri ?? throw Missing("source", ""));
    }

    private string ReadSource(string path)
    {
        string? uri = null;
        if (_reader.TokenType == JsonTokenType.StartArray)
        {
            NextOf(Source, count: 0, of: 1, path);
            uri = ReadText($"{path}[0]");
            _reader.Read();
            return uri;
        }

        Expect(JsonTokenType.StartObject, Source, path);
        while (NextMember() is { } member)
        {
            if (member != "uri")
            {
                _reader.Skip();
                continue;
            }

            RefuseSecond(member, path, uri);
            _reader.Read();
            uri = ReadText($"{path}.uri");
        }

        return uri ?? throw Missing("uri", path);
    }

    private string ReadText(string path)
    {
        Expect(JsonTokenType.String, "a string", path);
        return _reader.GetString()!;
    }

    /// <summary>The next name of a member, or null at the end of the object.</summary>
    private string? NextMember()
    {
        _reader.Read();
        return _reader.TokenType == JsonTokenType.EndObject ? null : _reader.GetString();
    }

    private void NextOf(string expected, int count, int of, string path = "")
    {
        _reader.Read();
        if (_reader.TokenType == JsonTokenType.EndArray)
        {
            var elements = of == 1 ? "1 element" : $"{of} elements";
            throw Unfit(path, $"invalid length {count}, expected {expected} with {elements}", _reader.BytesConsumed);
        }
    }

    private readonly void RefuseSecond(string member, string path, string? first)
    {
        if (first is not null)
        {
            // Said at the name, before its colon.
            throw Unfit(path, $"duplicate field `{member}`", _reader.TokenStartIndex + member.Length + 2);
        }
    }

    private readonly void Expect(JsonTokenType type, string expected, string path)
    {
        if (_reader.TokenType == type)
        {
            return;
        }

        var isOpen = _reader.TokenType is JsonTokenType.StartArray or JsonTokenType.StartObject;
        throw Unfit(path, $"invalid type: {Describe()}, expected {expected}", isOpen ? _reader.TokenStartIndex : _reader.BytesConsumed);
    }

    private readonly string Describe() =>
        _reader.TokenType switch
        {
            JsonTokenType.String => $"string {Quote(_reader.GetString()!)}",
            JsonTokenType.Number when _reader.TryGetInt64(out var integer) => $"integer `{integer}`",
            JsonTokenType.Number => $"floating point `{Float(_reader.GetDouble())}`",
            JsonTokenType.True => "boolean `true`",
            JsonTokenType.False => "boolean `false`",
            JsonTokenType.Null => "null",
            JsonTokenType.StartArray => "sequence",
            _ => "map",
        };

    private static string Quote(string text) =>
        $"\"{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";

    private static string Float(double value)
    {
        var text = value.ToString(Math.Abs(value) < 1e16 && value == Math.Floor(value) ? "0.0" : "R", CultureInfo.InvariantCulture);
        var exponent = text.IndexOf('E', StringComparison.Ordinal);
        return exponent < 0 ? text : $"{text[..exponent]}e{text[exponent + 1]}{text[(exponent + 2)..].TrimStart('0')}";
    }

    private readonly UnfitBodyException Missing(string field, string path) =>
        Unfit(path, $"missing field `{field}`", _reader.BytesConsumed);

    private readonly UnfitBodyException Unfit(string path, string problem, long position)
    {
        var before = _body[..(int)position];
        var line = before.Count((byte)'\n') + 1;
        var column = before.Length - (before.LastIndexOf((byte)'\n') + 1);
        var where = path.Length == 0 ? "" : $"{path}: ";
        return new UnfitBodyException(
            StatusCodes.Status422UnprocessableEntity,
            $"Failed to deserialize the JSON body into the target type: {where}{problem} at line {line} column {column}"
        );
    }

    private static JsonObject Result(string name, string uri) =>
        new()
        {
            ["lora_name"] = name,
            ["source"] = new JsonObject { ["uri"] = uri },
        };
}

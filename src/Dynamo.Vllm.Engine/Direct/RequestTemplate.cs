using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>A request as vLLM encoded it, cut into its fields: later requests with the same parameters are filled into it.</summary>
/// <remarks>
/// The front end of vLLM made and checked all that depends on the parameters alone, so nothing of that is known here. The fields are
/// found by their names, which the guest reads from vLLM. docs/protocol/engine-core.md, 4.
/// </remarks>
internal sealed class RequestTemplate
{
    /// <summary>Ours (<c>direct.py</c>); the front end of vLLM itself is client 1.</summary>
    private const int ClientIndex = 0;

    private readonly byte[] _encoded;
    private readonly (Field Kind, Range Value)[] _fields;
    private readonly SamplingTemplate _sampling;
    private readonly RequestLimits _limits;

    /// <param name="encoded">The array of a request with these parameters.</param>
    /// <param name="names">Of its fields, in their order.</param>
    /// <param name="limits">What a request must keep to go this way.</param>
    /// <exception cref="ProtocolException">It is no such array.</exception>
    public RequestTemplate(byte[] encoded, IReadOnlyList<string> names, RequestLimits limits)
    {
        _encoded = encoded;
        _limits = limits;
        var reader = new MessagePackReader(encoded);
        var count = reader.ReadArrayHeader();
        if (count != names.Count)
        {
            throw new ProtocolException($"the engine's request has {count} fields, {names.Count} names were given");
        }

        _fields = new (Field, Range)[count];
        for (var i = 0; i < count; i++)
        {
            var start = reader.Position;
            reader.Skip();
            _fields[i] = (KindOf(names[i]), start..reader.Position);
        }

        var (_, sampling) = Array.Find(_fields, field => field.Kind == Field.Sampling);
        _sampling = new SamplingTemplate(encoded[sampling]);
    }

    private enum Field
    {
        AsLearned,
        RequestId,
        Prompt,
        Sampling,
        ArrivalTime,
        CacheSalt,
        Client,
        Priority,
        TraceHeaders,
        ExternalId,
        Session,
    }

    /// <summary>Otherwise vLLM has something to say about it.</summary>
    public bool Fits(EngineRequest request) =>
        request.MaxTokens >= _limits.LeastTokens
        && request.Options.TokenIds.Length is var length
        && length >= 1
        && length <= _limits.LongestPrompt
        && (request.KvTransferParamsJson is null || _sampling.TakesExtraArguments)
        && AreInVocabulary(request.Options.TokenIds);

    /// <param name="output">Gets the array.</param>
    /// <param name="request">One that <see cref="Fits"/>.</param>
    /// <param name="internalId">Under which the engine speaks of it.</param>
    /// <param name="arrivalTime">Unix time in seconds.</param>
    public void Write(EngineMessage output, EngineRequest request, string internalId, double arrivalTime)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteArrayHeader(_fields.Length);
        foreach (var (kind, value) in _fields)
        {
            switch (kind)
            {
                case Field.RequestId:
                    writer.WriteString(internalId);
                    break;
                case Field.Prompt:
                    WritePrompt(writer, request.Options.TokenIds);
                    break;
                case Field.Sampling:
                    _sampling.Write(output, request.MaxTokens, request.KvTransferParamsJson);
                    break;
                case Field.ArrivalTime:
                    writer.WriteDouble(arrivalTime);
                    break;
                case Field.CacheSalt:
                    WriteText(writer, CommonFields.Salt(request.Options.CacheSalt));
                    break;
                case Field.Client:
                    writer.WriteInteger(ClientIndex);
                    break;
                case Field.Priority:
                    writer.WriteInteger(CommonFields.Priority(request.Options.Routing));
                    break;
                case Field.TraceHeaders:
                    WriteHeaders(writer, request.TraceHeaders);
                    break;
                case Field.ExternalId:
                    writer.WriteString(request.RequestId);
                    break;
                case Field.Session:
                    WriteText(writer, request.Options.SessionId);
                    break;
                default:
                    output.Copy(_encoded.AsSpan(value));
                    break;
            }
        }
    }

    private static Field KindOf(string name) =>
        name switch
        {
            "request_id" => Field.RequestId,
            "prompt_token_ids" => Field.Prompt,
            "sampling_params" => Field.Sampling,
            "arrival_time" => Field.ArrivalTime,
            "cache_salt" => Field.CacheSalt,
            "client_index" => Field.Client,
            "priority" => Field.Priority,
            "trace_headers" => Field.TraceHeaders,
            "external_req_id" => Field.ExternalId,
            "session_id" => Field.Session,
            _ => Field.AsLearned,
        };

    private static void WritePrompt(MessagePackWriter writer, int[] tokens)
    {
        writer.WriteArrayHeader(tokens.Length);
        foreach (var token in tokens)
        {
            writer.WriteInteger((ulong)token);
        }
    }

    private static void WriteText(MessagePackWriter writer, string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            writer.WriteNil();
        }
        else
        {
            writer.WriteString(text);
        }
    }

    private static void WriteHeaders(MessagePackWriter writer, IReadOnlyDictionary<string, string>? headers)
    {
        if (headers is null)
        {
            writer.WriteNil();
            return;
        }

        writer.WriteMapHeader(headers.Count);
        foreach (var (name, value) in headers)
        {
            writer.WriteString(name);
            writer.WriteString(value);
        }
    }

    private bool AreInVocabulary(int[] tokens)
    {
        foreach (var token in tokens)
        {
            if ((uint)token > (uint)_limits.HighestToken)
            {
                return false;
            }
        }

        return true;
    }
}

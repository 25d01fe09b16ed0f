namespace Dynamo.Vllm.Protocol;

/// <summary>Bounds that decoders check before they allocate.</summary>
public static class Limits
{
    /// <summary>Whole request frame on the TCP plane, in bytes; the default of DYN_TCP_MAX_MESSAGE_SIZE.</summary>
    public const int RequestFrameBytesDefault = 32 * 1024 * 1024;

    /// <summary>Control header of a request in bytes (request-plane.md, 1.4).</summary>
    public const int ControlHeaderBytesMax = 128 * 1024;

    /// <summary>
    /// A schema, grammar, expression or list of choices in UTF-8 bytes. The largest schemas in use have a tenth of it; what the engine
    /// makes of one grows with it, and in that time every stream waits.
    /// </summary>
    public const int GuidedDecodingBytesMax = 1024 * 1024;

    /// <summary>Prompts of one embedding request: each is a request to the engine. OpenAI takes an eighth of it.</summary>
    public const int EmbeddingInputsMax = 16 * 1024;

    /// <summary>All texts of one embedding request in UTF-8 bytes: the interpreter holds them twice while it reads them.</summary>
    public const int EmbeddingTextBytesMax = 16 * 1024 * 1024;

    /// <summary>All token ids of one embedding request: 16 MiB here, several times that in the interpreter.</summary>
    public const int EmbeddingTokensMax = 4 * 1024 * 1024;

    /// <summary>Messages, prompt or template variables of a text request, in bytes: the interpreter holds them several times.</summary>
    public const int TextPromptBytesMax = 16 * 1024 * 1024;

    /// <summary>Texts that may end a choice: each is looked for at every token, on the thread that all streams share.</summary>
    public const int StopStringsMax = 256;

    /// <summary>All texts that may end a choice, in bytes.</summary>
    public const int StopStringBytesMax = 64 * 1024;

    /// <summary>Media of one request, of all kinds. vLLM's own limit is 999 of each, where none is set.</summary>
    public const int MediaItemsMax = 1024;

    /// <summary>
    /// Media of one request in bytes, as they are fetched: they wait for the interpreter in a queue that takes 256 MiB of all requests.
    /// </summary>
    public const int MediaBytesMax = 192 * 1024 * 1024;

    /// <summary>Characters of an id under which the engine may have a medium in its cache.</summary>
    public const int MediaIdCharactersMax = 1024;

    /// <summary>Nesting of maps and arrays in a body. Deeper input is refused instead of overflowing the stack.</summary>
    public const int NestingDepthMax = 128;

    /// <summary>Operator text of an error in UTF-8 bytes; longer texts are cut with a suffix (llm-errors.md, 2).</summary>
    public const int ErrorMessageBytesMax = 4096;

    /// <summary>Control frames of the caller on a call-home socket hold "kill" or "stop"; anything larger is not one.</summary>
    public const int CallHomeControlBytesMax = 1024;
}
